"""Both lanes of one run as rich shows them: a fold over the events, and its picture."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app.question import LaneName
from app.terminal.stream import Event
from app.terminal.words import CHANGES, ORIGINS, dollars, safe, seconds, tokens

SIDE_BY_SIDE_FROM: Final = 76  # columns; narrower terminals get one lane below the other
COLOUR: Final[dict[LaneName, str]] = {"fast": "yellow", "slow": "blue"}


@dataclass
class Lane:
    """What is known of one lane."""

    model: str = ""
    state: str = "waiting"
    text: str = ""
    thinking: int = 0
    ended: dict[str, Any] | None = None


@dataclass
class Progress:
    """What is known of one run; the events change it. clock gives seconds."""

    clock: Callable[[], float] = time.monotonic
    lanes: dict[LaneName, Lane] = field(default_factory=lambda: {"fast": Lane(), "slow": Lane()})
    started: float | None = None
    run_id: str = ""
    source: str = "live"
    preliminary: bool = False
    final: dict[str, Any] | None = None
    done: dict[str, Any] | None = None

    def apply(self, event: Event) -> None:
        """Take in one event; an unknown one changes nothing."""
        take = getattr(self, f"_on_{event.name}", None)
        if take is not None:
            take(event.data)

    def _on_start(self, data: dict[str, Any]) -> None:
        self.started, self.run_id = self.clock(), str(data.get("run_id", ""))
        for name, lane in self.lanes.items():
            lane.model = str(data.get("lanes", {}).get(name, {}).get("model", ""))

    def _on_delta(self, data: dict[str, Any]) -> None:
        lane = self.lanes[data["lane"]]
        if data.get("kind") == "thinking":
            lane.thinking += len(data["text"])
            lane.state = "answering" if lane.state == "answering" else "thinking"
            return
        lane.text += data["text"]
        if lane.text.strip():
            lane.state = "answering"

    def _on_preliminary(self, data: dict[str, Any]) -> None:
        self.preliminary = True
        self.lanes["fast"].text = data["text"]

    def _on_lane_end(self, data: dict[str, Any]) -> None:
        lane = self.lanes[data["lane"]]
        lane.ended, lane.state = data, data["outcome"]

    def _on_final(self, data: dict[str, Any]) -> None:
        self.final = data
        self.lanes[data["lane"]].text = data["text"]

    def _on_done(self, data: dict[str, Any]) -> None:
        self.done = data


def picture(progress: Progress, console: Console, rows: int | None = None) -> RenderableType:
    """Both lanes and the line below them; with rows, only that many of the last lines of each lane."""
    wide = console.width >= SIDE_BY_SIDE_FROM
    inner = (console.width // 2 if wide else console.width) - 4
    room = rows if rows is None or wide else rows // 2 - 4
    panels = [_panel(progress, name, console, (inner, room)) for name in progress.lanes]
    if not wide:
        return Group(*panels, *_below(progress))
    grid = Table.grid(expand=True)
    for _ in panels:
        grid.add_column(ratio=1, overflow="fold")  # else a word that is longer than its line is cut
    grid.add_row(*panels)
    return Group(grid, *_below(progress))


def _panel(progress: Progress, name: LaneName, console: Console, room: tuple[int, int | None]) -> Panel:
    """One lane: its name and model above, its text, its numbers below."""
    lane, final = progress.lanes[name], progress.final is not None and progress.final.get("lane") == name
    width, rows = room
    text = Text(safe(lane.text))
    if rows is not None:
        text = Text("\n").join(text.wrap(console, max(width, 1))[-max(rows, 1) :])
    body: list[RenderableType] = [text]
    if lane.thinking:
        body.insert(0, Text(f"thinking: {lane.thinking:,} characters", style="dim"))
    if final or (name == "fast" and progress.preliminary):
        body.insert(0, Text(_worth(progress, final=final), style=f"bold {COLOUR[name]}" if final else "dim"))
    if lane.ended and lane.ended["outcome"] != "completed":
        body.append(Text(safe(f"{lane.ended.get('message') or ''} ({lane.ended.get('reason')})".strip()), style="dim"))
    title = Text.assemble((f" {name} ", f"bold {COLOUR[name]}"), (f"{safe(lane.model)} ", "dim"))
    border = COLOUR[name] if final else "dim"
    body.append(Text(_numbers(progress, lane), style="dim"))
    return Panel(Group(*body), title=title, title_align="left", border_style=border)


def _worth(progress: Progress, *, final: bool) -> str:
    """What a lane's answer is worth now."""
    if final and progress.final is not None:
        return "final answer" if progress.final.get("verified") else "final answer, unverified"
    replaced = progress.final is not None and progress.final.get("change") == "revised"
    return "preliminary, replaced" if replaced else "preliminary"


def _numbers(progress: Progress, lane: Lane) -> str:
    """The state of a lane, and its clock or its latencies, a line each: a border would cut them."""
    if lane.ended is not None:
        ttft = lane.ended.get("ttft_ms")
        first = "no token" if ttft is None else f"first token {seconds(ttft)}"
        return f"{lane.state}, {seconds(lane.ended.get('latency_ms'))}\n{first}"
    if progress.started is None or progress.done is not None:
        return lane.state
    return f"{lane.state}, {progress.clock() - progress.started:.1f} s"


def _below(progress: Progress) -> list[RenderableType]:
    """Where the answer comes from, the verdict, and the line of `done`."""
    lines: list[RenderableType] = []
    if progress.source in ORIGINS:
        lines.append(Text(ORIGINS[progress.source], style="dim"))
    if progress.final is not None:
        change = str(progress.final.get("change"))
        lines.append(Text.assemble((change.capitalize(), "bold"), f"  {CHANGES.get(change, '')}"))
    done = progress.done
    if done is not None:
        reason = f" ({done['reason']})" if done.get("reason") else ""
        facts = [
            f"{done.get('status')}{reason}",
            seconds(done.get("latency_ms")),
            f"tokens {tokens(done.get('usage') or {})}",
            f"cost {dollars(done.get('cost_usd'))}",
            f"record {done.get('audit')}",
            f"run {progress.run_id}",
        ]
        lines.append(Text(", ".join(facts), style="dim"))
    return lines
