"""`tandem race`: a set of questions asked one after another, a few at once; what became of each, and of all."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from app.errors import MalformedRequest
from app.terminal.server import Server
from app.terminal.stream import Event, Lost, Refused, Run

ATTEMPTS: Final = 6  # per question, while the server says to come later
LONGEST_PAUSE_S: Final = 60.0  # who is told to come back later than that is refused
MAX_QUESTIONS: Final = 100_000
FIELDS: Final = frozenset({"input", "messages", "prompt_class", "tags"})  # what a line of JSON may say

Body = dict[str, Any]
Sleep = Callable[[float], Awaitable[object]]


@dataclass
class Asked:
    """What became of one question; status is that of `done`, or `refused`, `lost`, `left`."""

    question: Body
    status: str = "left"
    why: str | None = None
    run_id: str | None = None
    final: dict[str, Any] | None = None
    done: dict[str, Any] | None = None

    def line(self) -> dict[str, Any]:
        """The same as one object of a file."""
        final, done = self.final or {}, self.done or {}
        return self.question | {
            "run_id": self.run_id, "status": self.status, "reason": self.why, "change": final.get("change"),
            "agreement": (final.get("agreement") or {}).get("verdict"), "answer": final.get("text"),
            "latency_ms": done.get("latency_ms"), "cost_usd": done.get("cost_usd"),
        }  # fmt: skip


@dataclass
class Race:
    """How a set is asked: what every question shares, how many at once, and who hears of each end."""

    http: httpx.AsyncClient
    shared: Body
    on_end: Callable[[Asked], None]
    sleep: Sleep = asyncio.sleep

    async def run(self, questions: Sequence[Body], at_once: int) -> None:
        """Ask all of them; raises Unreachable. Cancelling it cancels the runs that are under way on the server, too."""
        left = iter(questions)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(at_once, len(questions))):
                    group.create_task(self._work(left))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    async def _work(self, left: Iterator[Body]) -> None:
        for question in left:
            self.on_end(await self._ask(question))

    async def _ask(self, question: Body) -> Asked:
        """One question; whatever goes wrong with it, the others are still asked. No server at all ends the race."""
        asked = Asked(question)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._follow(question, asked)
            except Refused as error:
                pause = _pause(error, attempt)
                if error.status in {429, 503} and attempt < ATTEMPTS and pause <= LONGEST_PAUSE_S:
                    await self.sleep(pause)
                    continue
                again = f" (again in {pause:.0f} s)" if pause > LONGEST_PAUSE_S else ""
                asked.status, asked.why = "refused", f"{error.problem_code}: {error.message}{again}"
            except Lost as error:
                asked.status, asked.why = "lost", error.message
            break
        return asked

    async def _follow(self, question: Body, asked: Asked) -> None:
        """Read one run to its end."""

        def on_event(event: Event) -> None:
            if event.name == "final":
                asked.final = event.data
            elif event.name == "done":
                asked.done = event.data
                asked.status, asked.why = str(event.data.get("status")), event.data.get("reason")

        run = Run(self.http, on_event)
        try:
            await run.follow(self.shared | question)
        except asyncio.CancelledError:
            if run.source != "attached":  # only who began it may stop it
                await run.cancel()
            raise
        finally:
            asked.run_id = run.id


def _pause(error: Refused, attempt: int) -> float:
    """As long as the server says, else longer each time; seconds."""
    said = error.retry_after or ""
    return float(said) if said.isdecimal() else min(2.0**attempt, LONGEST_PAUSE_S)


def questions_of(lines: Iterable[str], source: str, most: int) -> list[Body]:
    """One question a line: plain text, or JSON with `input` or `messages` and labels. Blank lines are skipped."""
    questions: list[Body] = []
    for number, line in enumerate(lines, 1):
        if len(questions) == most:
            break
        text = line.strip()
        if text:
            questions.append(_parsed(text, f"{source}:{number}") if text.startswith("{") else {"input": text})
    if not questions:
        raise MalformedRequest(f"{source}: holds no question; write one a line")
    return questions


def _parsed(text: str, where: str) -> Body:
    """The question of a JSON line."""
    try:
        told = json.loads(text)
        json.dumps(told, ensure_ascii=False, allow_nan=False).encode()  # as it will be sent
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"{where}: is no JSON: {error}") from None
    unknown = told.keys() - FIELDS
    if unknown:
        raise MalformedRequest(f"{where}: {min(unknown)}: is none of {', '.join(sorted(FIELDS))}")
    if ("input" in told) == ("messages" in told):
        raise MalformedRequest(f"{where}: needs either input or messages")
    return dict(told)


def counted(asked: Sequence[Asked]) -> dict[str, Counter[str]]:
    """How the runs ended, and what the slow answers changed."""
    return {
        "status": Counter(one.status for one in asked),
        "change": Counter(str(one.final["change"]) for one in asked if one.final is not None),
    }


async def recorded(running: Server, experiment: str, asked: Sequence[Asked], sleep: Sleep = asyncio.sleep) -> Body:
    """What the record says of the experiment's agreement, once it has every run that we know of, or after 5 seconds."""
    due = sum(1 for one in asked if (one.final or {}).get("agreement"))
    for _ in range(25):
        told = await running.read("/api/experiments/agreement", experiment=experiment)
        if told["total"]["n"] >= due:
            break
        await sleep(0.2)
    return told
