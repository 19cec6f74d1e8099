"""Past runs in the terminal: a table, one record, or the rows of runs as they end."""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from app.errors import MalformedRequest, TandemError
from app.question import LaneName
from app.terminal.server import Server, pause_after
from app.terminal.words import dollars, safe, seconds, tokens

PATH: Final = "/api/experiments"
LANES: Final[tuple[LaneName, LaneName]] = ("fast", "slow")
PAGE: Final = 200  # the most records a page may have
WITH_QUESTION: Final = 50  # the same with their payload
QUESTION_CHARS: Final = 200  # of one in a line
LOOK_EVERY_S: Final = 2.0
REMEMBERED: Final = 1000  # runs that were shown while following, so that none is shown twice

_RUN_ID: Final = re.compile(r"[0-9a-fA-F-]{32,36}")

Filters = dict[str, Any]


async def listed(running: Server, filters: Filters, limit: int, *, questions: bool) -> list[dict[str, Any]]:
    """The newest records that match, page by page until there are limit of them."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    most = WITH_QUESTION if questions else PAGE
    while len(found) < limit:
        wanted = filters | {"limit": min(most, limit - len(found)), "cursor": cursor}
        told = await running.read(PATH, **wanted, **({"payload": "true"} if questions else {}))
        found += told["experiments"]
        cursor = told["next_cursor"]
        if cursor is None:
            break
    return found


def one(run_id: str) -> str:
    """Where one record is."""
    if _RUN_ID.fullmatch(run_id) is None:
        raise MalformedRequest("a run's id is a UUID, as `done` and the list have it")
    return f"{PATH}/{run_id}"


async def follow(
    running: Server,
    filters: Filters,
    show: Callable[[dict[str, Any]], None],
    away: Callable[[TandemError], None],
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Show each run that ends from now on, in the order of their starts, until this is cancelled.

    A server that is away or busy for a while is waited for; away hears of it once, and not at every look.
    """
    shown = deque((record["run_id"] for record in await _ended(running, filters)), maxlen=REMEMBERED)
    pause_s = LOOK_EVERY_S
    waiting = False
    while True:
        await sleep(pause_s)
        try:
            ended = await _ended(running, filters)
        except TandemError as error:
            pause_s = pause_after(error, LOOK_EVERY_S)
            if not waiting:
                away(error)
            waiting = True
            continue
        pause_s, waiting = LOOK_EVERY_S, False
        for record in reversed(ended):
            if record["run_id"] not in shown:
                shown.append(record["run_id"])
                show(record)


async def _ended(running: Server, filters: Filters) -> list[dict[str, Any]]:
    """The newest records of runs that are over."""
    told = await running.read(PATH, **filters, limit=PAGE)
    return [record for record in told["experiments"] if record["status"] not in {None, "running"}]


def table(records: Iterable[dict[str, Any]], *, questions: bool) -> Table:
    """One row a run."""
    numbers = [Column(name, justify="right") for name in ("fast", "slow", "latency", "cost")]
    whole = (Column("when", no_wrap=True), Column("run", no_wrap=True, min_width=36), Column("outcome", no_wrap=True))
    shown = Table(*whole, *numbers, box=None, pad_edge=False, header_style="bold")
    if questions:
        shown.add_column("question", no_wrap=True, overflow="ellipsis")
    for record in records:
        shown.add_row(*cells(record, questions=questions))
    return shown


def width(records: Iterable[dict[str, Any]], console: Console) -> int:
    """How many columns the table has without the questions, which may be cut."""
    whole = table(records, questions=False)
    return console.measure(whole, options=console.options.update_width(10_000)).maximum


def cells(record: dict[str, Any], *, questions: bool) -> list[Text]:
    """What the table says of one run."""
    words = [_when(record["created_at"]), record["run_id"], outcome(record)]
    words += [_lane(record, name) for name in LANES]
    words += [seconds(record["latency_ms"]), dollars(record["cost_usd"])]
    if questions:
        words.append(" ".join(question(record).split()))
    return [Text(safe(word)) for word in words]


def lines(record: dict[str, Any], *, questions: bool) -> Text:
    """The same of one run for a narrow terminal: a line that names it, and what the table says below."""
    when, run_id, ended, fast, slow, *rest = cells(record, questions=questions)
    latency, cost, *asked = rest
    told = Text.assemble("  ", ended, ", fast ", fast, ", slow ", slow, ", latency ", latency, ", cost ", cost)
    for one in asked:
        one.truncate(QUESTION_CHARS, overflow="ellipsis")
    return Text("\n").join([Text("  ").join([when, run_id]), told, *(Text("  ") + one for one in asked)])


def outcome(record: dict[str, Any]) -> str:
    """The final's change, or how the run ended, or that it runs."""
    ended = record["change"] or record["status"] or "running"
    return f"{ended} ({record['source']})" if record["source"] != "live" else str(ended)


def question(record: dict[str, Any]) -> str:
    """What was asked, as far as it was kept."""
    messages = (record.get("payload") or {}).get("messages") or []
    return str(messages[-1]["content"]) if messages else "(not kept)"


def _when(created_at: str) -> str:
    """In the time of this machine."""
    return datetime.fromisoformat(created_at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _lane(record: dict[str, Any], name: LaneName) -> str:
    lane = record["lanes"].get(name)
    if lane is None:
        return "-"
    return seconds(lane["latency_ms"]) if lane["outcome"] == "completed" else str(lane["outcome"] or "running")


def show_one(record: dict[str, Any], console: Console) -> None:
    """One record for people: its facts, then the question and both answers."""
    facts = Table.grid("", Column(overflow="fold"), padding=(0, 2))
    for name, words in _facts(record):
        facts.add_row(Text(name, style="dim"), Text(safe(words)))
    console.print(facts)
    texts = (record.get("payload") or {}).get("texts") or {}
    for title, text in [("question", question(record)), *((f"{lane} answer", texts.get(lane)) for lane in LANES)]:
        console.print(Text(f"\n{title}", style="bold"))
        console.print(Text(safe(text) if text else "(none, or not kept)"), soft_wrap=True)


def _facts(record: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """The record's facts, in the order in which people look for them."""
    yield "run", record["run_id"]
    yield "when", _when(record["created_at"])
    reason = f" ({record['reason']})" if record["reason"] else ""
    yield "status", f"{record['status'] or 'running'}{reason}, {outcome(record)}"
    for name in LANES:
        lane = record["lanes"].get(name)
        if lane is not None:
            reason = "at its limit of tokens" if lane.get("finish_reason") == "length" else lane["reason"]
            why = f" ({reason})" if reason else ""
            first = f"first token {seconds(lane['ttft_ms'])}"
            yield name, f"{lane['model']}: {lane['outcome']}{why}, {seconds(lane['latency_ms'])}, {first}"
    yield "tokens", tokens(record["usage"] or {})
    yield "cost", dollars(record["cost_usd"])
    labels = [f"{name} {value}" for name, value in record["labels"].items() if value]
    yield "labels", ", ".join(labels) or "none"
    yield "record", str(record["audit"])
