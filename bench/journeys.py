"""Clients that lose their connection now and then and come back with Last-Event-ID; what became of their streams."""

import asyncio
import contextlib
import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from bench.witness import Scene, Seen, Tally

STOP_S: Final = 9.5
PATIENCE_S: Final = 60.0
AGAIN_S: Final = 0.25
SHARE_LONG: Final = 0.5
LEAVING: Final = 0.15  # of the streams are left in the middle, once, and resumed


@dataclass(slots=True)
class Journey:
    """What one client has received of one run, keep-alives left out."""

    raw: bytes = b""
    parts: int = 0
    accepted: bool = False

    @property
    def done(self) -> bool:
        """Whether the last event has come."""
        return b"\nevent: done\n" in self.raw and self.raw.endswith(b"\n\n")

    @property
    def last_id(self) -> str:
        """The id of the last event."""
        return self.raw.rpartition(b"\nid: ")[2].partition(b"\n")[0].decode()

    def events(self) -> list[tuple[str, int]]:
        """Name and number of every event."""
        lines = self.raw.decode("ascii").splitlines()
        names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
        return list(
            zip(names, (int(line.rpartition(":")[2]) for line in lines if line.startswith("id: ")), strict=True)
        )

    def data(self, name: str) -> dict[str, Any]:
        """The data of the first event of that name."""
        block = self.raw.partition(f"event: {name}\n".encode())[2].partition(b"\n\n")[0]
        found: dict[str, Any] = json.loads(block.partition(b"data: ")[2])
        return found


@dataclass(slots=True)
class Outcome:
    """The counts of one scenario; what is refused, broken, unended or missing must stay empty."""

    name: str
    rolls: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    waited: Counter[str] = field(default_factory=Counter)  # answers to a resume that was tried again
    refused: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    unended: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    exits: list[float] = field(default_factory=list)
    record: Tally = field(default_factory=Tally)

    @property
    def whole(self) -> bool:
        """Whether every promise was kept."""
        wrong = self.refused.total() or self.broken or self.unended or self.missing
        return self.record.whole and not wrong and all(took < STOP_S for took in self.exits)


class Clients:
    """Clients of one address, each of which asks one question after another."""

    def __init__(self, url: str, scene: Scene, outcome: Outcome, long: str) -> None:
        self._url = url
        self._scene = scene
        self._outcome = outcome
        self._long = long
        self._ending = asyncio.Event()

    @contextlib.asynccontextmanager
    async def asking(self, count: int) -> AsyncIterator[None]:
        """So many, until the block ends; then each reads its last stream to the end."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http, asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._ask_on(http))
            try:
                yield
            finally:
                self._ending.set()

    async def _ask_on(self, http: aiohttp.ClientSession) -> None:
        while not self._ending.is_set():
            journey = Journey()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._travel(http, journey)
            except TimeoutError:
                self._outcome.unended.append(journey.last_id)
            if journey.raw:
                self._note(journey)
            await asyncio.sleep(self._scene.dice.uniform(0.0, 0.3))

    async def _travel(self, http: aiohttp.ClientSession, journey: Journey) -> None:
        """From the question to `done`."""
        dice = self._scene.dice
        body: dict[str, Any] = {"input": f"Is it {time.perf_counter()}?", "cache": "off"}
        if dice.random() < SHARE_LONG:
            body["slow"] = {"model": self._long}
        leave_after = dice.randint(1, 10) if dice.random() < LEAVING else None
        try:
            async with http.post(f"{self._url}/v1/reason", json=body) as response:
                if response.status != 200:
                    self._outcome.refused[f"{response.status} {(await response.text())[:60]}"] += 1
                    return
                journey.accepted = True
                await self._read(response, journey, leave_after)
        except aiohttp.ClientError as error:
            if not journey.raw:
                self._outcome.ends["cut before `start`"] += journey.accepted
                self._outcome.refused[type(error).__name__] += not journey.accepted
        while journey.raw and not journey.done:
            await self._resume(http, journey)

    async def _read(self, response: aiohttp.ClientResponse, journey: Journey, leave_after: int | None) -> None:
        """What comes, until the stream ends or breaks, or the client leaves; only whole events are kept."""
        journey.parts += 1
        raw = b""
        try:
            async for chunk in response.content.iter_any():
                raw += chunk
                if leave_after is not None and raw.count(b"\n\n") >= leave_after and b"event: done" not in raw:
                    response.close()
                    return
        finally:
            raw = raw.replace(b": ping\n", b"")
            journey.raw += raw[: raw.rfind(b"\n\n") + 2] if b"\n\n" in raw else b""

    async def _resume(self, http: aiohttp.ClientSession, journey: Journey) -> None:
        """Come back once, as a client does that has lost its connection."""
        address = f"{self._url}/v1/runs/{journey.last_id.partition(':')[0]}/events"
        try:
            async with http.get(address, headers={"Last-Event-ID": journey.last_id}) as response:
                if response.status == 200:
                    await self._read(response, journey, None)
                    return
                self._outcome.waited[f"{response.status} {json.loads(await response.text()).get('code')}"] += 1
        except aiohttp.ClientError as error:
            self._outcome.waited[type(error).__name__] += 1
        except ValueError:  # a page of nginx's own
            self._outcome.waited[f"{response.status} of nginx"] += 1
        await asyncio.sleep(AGAIN_S)

    def _note(self, journey: Journey) -> None:
        """Write down what was seen of a run."""
        run_id, events = journey.last_id.partition(":")[0], journey.events()
        names = [name for name, _ in events]
        self._outcome.resumed += journey.parts > 1
        if [seq for _, seq in events] != list(range(len(events))) or names.count("done") > 1 or "done" in names[:-1]:
            self._outcome.broken.append(run_id)
        seen = self._scene.seen[run_id] = Seen(journey.data("start")["audit"])
        if journey.done:
            done = journey.data("done")
            interrupted = done["reason"] == "interrupted"
            self._outcome.ends["interrupted" if interrupted else done["status"]] += 1
            if not interrupted:  # whose `done` is no part of a log that its server has written
                seen.done, seen.digest = done["audit"], hashlib.sha256(journey.raw).hexdigest()
