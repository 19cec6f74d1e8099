"""Many runs with faults and cancels at random under limits that are too small: is every cent accounted for?

A second is ten minutes for the limits, so that windows slide by. What must hold afterwards, with one instance and with
two on one Redis: nothing is reserved, what was settled is what the record has, and no hour held more than its limit and
what the runs that went on at once may cost beyond their estimates.
"""

import asyncio
import contextlib
import random
import shutil
import signal
import subprocess
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final

import typer

from app.admission.allowance import NANO, Allowances, Defaults, Limit
from app.admission.budget import Budget, Purses, Shared
from app.admission.estimate import Estimator, Prices
from app.admission.gate import Gates, Pass, Spent
from app.admission.purse import Account, Hold, SharedPurse, Standing
from app.admission.settling import Settler
from app.admission.sparing import Sparing
from app.breaker import Breaker
from app.errors import BudgetExceeded, ModelError, Refusal
from app.events import Usage
from app.llm.model import Finish, Item, LanguageModel, Pieces, Prompt
from app.question import LANES, Caller, LaneAsk, LaneName, Message, Question, scope_of
from app.reasoning.order import Order
from app.reasoning.race import Terms
from app.reasoning.runs import Bounds, Runs
from app.record.entry import Attachment, Closing, Opening
from app.record.prices import Tariff
from app.redis.client import Client
from app.redis.purse import RedisPurse
from bench.servers import folder, free_port

SPEED: Final = 600.0  # seconds of the limits in a second
BEGAN: Final = 1_800_000_000.0
SAID: Final = 20  # tokens that an answer is taken to have; some have twice as many
TARIFFS: Final = {"fast": Tariff(1000.0, 2000.0, None, "bench"), "slow": Tariff(7000.0, 14_000.0, 700.0, "bench")}
EXCESS: Final = SAID * (2000 + 14_000)  # what a run may cost beyond its estimate, in nano-dollars
CALLERS: Final = tuple(Caller(f"caller{n}", f"tenant{n % 2}") for n in range(5))
LIMIT_OF: Final = {"caller": NANO // 4, "tenant": NANO // 2, "global": 4 * NANO // 5}  # US dollars an hour
LIMITS: Final = Defaults(
    caller=(Limit("tokens", "hour", 60_000), Limit("usd", "hour", LIMIT_OF["caller"]), Limit("usd", "day", 2 * NANO)),
    tenant=(Limit("usd", "hour", LIMIT_OF["tenant"]),),
    everybody=(Limit("usd", "hour", LIMIT_OF["global"]),),
)
KINDS: Final = ("whole", "whole", "whole", "long", "silent", "mute", "early", "midway", "endless", "empty")


@dataclass
class Book:
    """What became of everything. charged: by account, when and how much; closings: the last word on each run."""

    lanes: dict[str, int] = field(default_factory=dict)
    charged: dict[Account, list[tuple[float, int]]] = field(default_factory=dict)
    words: Counter[str] = field(default_factory=Counter)
    live: int = 0
    most_live: int = 0

    def admit(self) -> None:
        """There is room."""

    def opened(self, opening: Opening) -> "Book":  # noqa: ARG002  # as Journal has it
        """Durable at once."""
        return self

    def closed(self, closing: Closing) -> "Book":
        """Keep what its lanes cost."""
        self.lanes[closing.opening.run_id] = sum(lane.cost_nano or 0 for lane in closing.lanes.values())
        self.words[closing.status] += 1
        return self

    def attached(self, attachment: Attachment) -> "Book":  # noqa: ARG002  # as Journal has it
        """Durable at once."""
        return self

    async def durable(self, within_s: float) -> bool:  # noqa: ARG002  # as Receipt has it
        """It is."""
        return True

    def charge(self, hold: Hold, spent: Sequence[int], now: float) -> None:
        """Note what a run is charged, and when."""
        for ask, amount in zip(hold.asks, spent, strict=True):
            self.charged.setdefault(ask.account, []).append((now, amount))


class Model:
    """Says about SAID tokens, twice as many, or goes wrong in some way."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self._chance = chance

    async def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """One answer."""
        kind = self._chance.choice(KINDS)
        asked = sum(len(message.content) for message in prompt.messages) // 4
        await asyncio.sleep(self._chance.random() * 0.004)
        if kind == "early":
            raise ModelError("upstream_error", "it fails at once")
        if kind == "mute":
            await asyncio.Event().wait()
        if kind != "empty":
            yield Pieces("answer", ["word " * SAID])
        await asyncio.sleep(self._chance.random() * 0.004)
        if kind == "midway":
            raise ModelError("upstream_error", "it fails midway")
        if kind == "endless":
            await asyncio.Event().wait()
        if kind != "silent":
            yield Usage(asked, SAID * 2 if kind == "long" else self._chance.randrange(1, SAID), None, None, "reported")
        yield Finish("stop")

    async def close(self) -> None:
        """Hold nothing."""


class Models:
    """Two of them, and a name that is none."""

    def __init__(self, chance: random.Random) -> None:
        self._models: dict[str, LanguageModel] = {name: Model(name, chance) for name in (*LANES, "unpriced")}

    def get(self, lane: LaneName, name: str) -> LanguageModel:  # noqa: ARG002  # as Models has it
        """The model of that name."""
        if name not in self._models:
            raise Refusal("no such model")
        return self._models[name]


class Watched(Purses):
    """Purses that tell a book what they are charged."""

    book: Book

    def settle(self, hold: Hold, spent: list[int]) -> None:
        """As Purses has it."""
        self.book.charge(hold, spent, self.wall())
        super().settle(hold, spent)


@dataclass
class Instance:
    """One server's registry and its gate."""

    runs: Runs
    gate: Gates
    budget: Budget
    purses: Purses


def wall() -> float:
    """The time of the limits."""
    return BEGAN + asyncio.get_running_loop().time() * SPEED


def clock(ahead: float = 0.0) -> str:
    """The same in Redis, so many seconds ahead."""
    zero = time.time() - asyncio.get_running_loop().time()
    passed = f"(at[1] + at[2] / 1000000 - {zero:.6f}) * {SPEED}"
    return f"local function clock() local at = redis.call('TIME') return {BEGAN + ahead} + {passed} end\n"


def instance(book: Book, chance: random.Random, shared: Shared | None = None) -> Instance:
    """A server over that book."""
    purses = Watched(wall, shared)
    purses.book = book
    estimator = Estimator(Prices(tariff, look), SAID)
    budget = Budget(Allowances(LIMITS), purses, estimator, Counter())
    runs = Runs(Models(chance), book, Terms(tariff=tariff), Bounds(live=100_000, kept=0, disconnect_grace_s=0.002))
    return Instance(runs, Gates([budget]), budget, purses)


def tariff(lane: LaneName, model: str) -> Tariff | None:  # noqa: ARG001  # as Terms has it
    """What a model costs."""
    return TARIFFS.get(model)


async def look(lane: LaneName, model: str) -> Tariff | None:
    """The same, looked up."""
    return tariff(lane, model)


def question(chance: random.Random) -> Question:
    """A question of some length, sometimes to a model without a price, or to none that is there."""
    fast, slow = (LaneAsk(name, 0.6, 0.3, 0.3) for name in LANES)
    if chance.random() < 0.1:
        other = "unpriced" if chance.random() < 0.7 else "none"
        fast = LaneAsk(other, 0.6, 0.3, 0.3)
    text = "why " * chance.randrange(10, 100)
    return Question((Message("user", text),), fast, slow, deadline_s=3000.0, cache="off")


async def one(servers: Sequence[Instance], book: Book, chance: random.Random) -> None:
    """One question, and whatever its asker does then."""
    server, caller, asked = chance.choice(servers), chance.choice(CALLERS), question(chance)
    entering = asyncio.create_task(server.gate.enter(caller, asked))
    if chance.random() < 0.05:  # who leaves before they are let in
        await asyncio.sleep(0)
        entering.cancel()
    try:
        admitted = await entering
    except asyncio.CancelledError:
        book.words["left at the gate"] += 1
        return
    except BudgetExceeded:
        book.words["refused"] += 1
        return
    book.live += 1
    book.most_live = max(book.most_live, book.live)
    try:
        await _run(server, caller, asked, admitted, chance)
    except Refusal:
        admitted.settle(Spent(0, 0))
        book.words["no such model"] += 1
    finally:
        book.live -= 1


async def _run(server: Instance, caller: Caller, asked: Question, admitted: Pass, chance: random.Random) -> None:
    order = Order(asked, caller, asked.key(scope_of(caller, "caller"), {}), admitted=admitted)
    run = server.runs.open(order)
    reader = run.attach()
    patience = chance.choice((0.0, 0.003, 0.006, 3.0, 3.0, 3.0))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            while not reader.ended:
                await reader.wait()
                reader.take()
    if not reader.ended and chance.random() < 0.5:
        server.runs.cancel(run.run_id, caller)
    elif not reader.ended and run.acceptable:
        server.runs.accept(run.run_id, caller)
    reader.close()
    while not run.closed:  # noqa: ASYNC110  # nobody reads any more
        await asyncio.sleep(0.001)
    if chance.random() < 0.1:
        admitted.settle(Spent(10**6, 10**12))  # again, which must do nothing


async def simulate(servers: Sequence[Instance], book: Book, runs: int, at_once: int, chance: random.Random) -> None:
    """Ask so many questions, at_once at a time, and let everything end."""
    waiting = deque(range(runs))

    async def work() -> None:
        """One asker after another."""
        while waiting:
            waiting.popleft()
            await one(servers, book, chance)

    await asyncio.gather(*(work() for _ in range(at_once)))
    await asyncio.gather(*(server.runs.drain(1.0) for server in servers))


def worst_hour(charged: Sequence[tuple[float, int]]) -> int:
    """The most that was charged within any hour."""
    worst = total = 0
    inside: deque[tuple[float, int]] = deque()
    for at, amount in sorted(charged):
        inside.append((at, amount))
        total += amount
        while inside[0][0] <= at - 3600:
            total -= inside.popleft()[1]
        worst = max(worst, total)
    return worst


def faults(servers: Sequence[Instance], book: Book) -> Iterator[str]:
    """Everything that is not as it must be."""
    for server in servers:
        if server.purses.own.held:
            yield f"{server.purses.own.held} amounts are still held"
    settled, recorded = sum(server.budget.settled_nano for server in servers), sum(book.lanes.values())
    if settled != recorded:
        yield f"settled {settled}, recorded {recorded} nano-dollars"
    for account, charged in book.charged.items():
        most = LIMIT_OF[account.scope] + book.most_live * EXCESS
        if account.unit == "usd" and (worst := worst_hour(charged)) > most:
            yield f"{account.scope} {account.id}: {worst} in an hour, at most {most}"


async def shared_faults(purse: SharedPurse, book: Book, lost: Sequence[Standing]) -> list[str]:
    """The same of the shared purse, when what died holds nothing any more and has spent what it held: lost."""
    accounts, found = list(book.charged), []
    for account, stands, died in zip(accounts, await purse.standing(accounts, wall()), lost, strict=True):
        spent = sum(amount for _, amount in book.charged[account]) + died.held
        if stands.held:
            found.append(f"{' '.join(account)}: {stands.held} held in Redis")
        if stands.spent["day"] != spent:
            found.append(f"{' '.join(account)}: {stands.spent['day']} spent in Redis, and in truth {spent}")
    return found


async def alone(runs: int, seed: int) -> tuple[Book, list[str]]:
    """One instance that counts in memory."""
    book, chance = Book(), random.Random(seed)
    server = instance(book, chance)
    await simulate([server], book, runs, 60, chance)
    return book, list(faults([server], book))


async def together(
    url: str, runs: int, seed: int, freeze: Callable[[], Coroutine[None, None, None]] | None = None
) -> tuple[Book, list[str]]:
    """Two instances that share a Redis, which may freeze for a while, and a third that dies with what it holds."""
    book, chance = Book(), random.Random(seed)
    async with Client(url, f"money{seed}{freeze is None}") as client, contextlib.AsyncExitStack() as stack:
        servers = []
        for _ in range(3):
            purse = RedisPurse(client, 0.02 if freeze else 2.0, clock=clock())
            settler = await stack.enter_async_context(Settler(purse, wall))
            sparing = Sparing(Breaker(), asyncio.get_running_loop().time)
            servers.append(instance(book, chance, Shared(purse, sparing, settler)))
        dying = servers.pop()
        for caller in CALLERS:
            await dying.gate.enter(caller, question(chance))
        died_at = wall()
        async with asyncio.TaskGroup() as group:
            if freeze is not None:
                group.create_task(freeze())
            await simulate(servers, book, runs, 60, chance)
        found = list(faults(servers, book))
        await stack.aclose()
        lost = dying.purses.own.standing(list(book.charged), died_at)
        found += await shared_faults(RedisPurse(client, 2.0, clock=clock(4000)), book, lost)
    alone_for_a_while = ("in an hour", "in truth") if freeze else ()  # what was held then was never held in Redis
    return book, [fault for fault in found if not any(words in fault for words in alone_for_a_while)]


class Redis:
    """A server of our own."""

    def __init__(self, child: subprocess.Popen[bytes], port: int) -> None:
        self._child = child
        self.url = f"redis://127.0.0.1:{port}/0"

    async def freeze(self) -> None:
        """It answers nobody for half a second, after a moment."""
        await asyncio.sleep(0.2)
        self._child.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(0.5)
        finally:
            self._child.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def redis_running() -> Iterator[Redis]:
    """A redis-server for as long as the block lasts."""
    with folder() as home:
        port = free_port()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--save", ""]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            yield Redis(child, port)
        finally:
            child.kill()
            child.wait()


def main(
    runs: Annotated[int, typer.Option(help="Questions, each time.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of everything that is left to chance.")] = 1,
) -> None:
    """In memory; with two instances on one Redis, a third of which died; and with that Redis frozen for a while."""
    failed = show("one instance, in memory", *asyncio.run(alone(runs, seed)))
    if shutil.which("redis-server") is None:
        raise SystemExit("redis-server is not installed")
    with redis_running() as redis:
        failed |= show("two instances on a Redis", *asyncio.run(together(redis.url, runs, seed)))
        failed |= show("the same, frozen for 0.5 s", *asyncio.run(together(redis.url, runs, seed, redis.freeze)))
    raise SystemExit(1 if failed else 0)


def show(title: str, book: Book, found: list[str]) -> bool:
    """Print what became of the runs; whether anything is not as it must be."""
    words = ", ".join(f"{count} {word}" for word, count in book.words.most_common())
    spent = sum(book.lanes.values()) / NANO
    print(f"{title}: {words}; {spent:.6f} US dollars in the record, {book.most_live} runs at once")
    hours = {account: worst_hour(charged) / NANO for account, charged in book.charged.items() if account.unit == "usd"}
    worst = {scope: max(hours[account] for account in hours if account.scope == scope) for scope in LIMIT_OF}
    told = (f"{scope} {most:.4f} of {LIMIT_OF[scope] / NANO}" for scope, most in worst.items())
    print("  worst hour: " + ", ".join(told))
    for fault in found:
        print(f"  FAULT {fault}")
    return bool(found)


if __name__ == "__main__":
    typer.run(main)
