"""What is read at the moment it is asked for, from the parts that know it; each by no more than it takes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from app.answers.stats import LevelStats, Stats
from app.breaker import State
from app.record.ledger import Ledger
from app.telemetry.tallies import About, Labels, Reading, counter, counters, gauge, gauges

STATES: Final[dict[State, int]] = {"closed": 0, "half_open": 1, "open": 2}
WELL: Final = ("ok", "off")
_ENDS: Final = ("accepted", "stored", "duplicate", "dead_lettered", "logged")
_ASIDE: Final = ("refused", "stripped", "conflicts", "retries", "adopted", "interrupted")
_EVICTED: Final = About("tandem_cache_evictions_total", "Answers that went.", ("level", "reason"))
_EXCEEDED: Final = About("tandem_limit_exceeded_total", "Requests beyond a limit.", ("scope", "limit"))
_RATED: Final = _EXCEEDED._replace(name="rate_limit_exceeded_total")  # by the name that panels have


class Registry(Protocol):
    """The runs of this instance."""

    strays: set[Any]

    @property
    def live(self) -> int:
        """How many are live."""
        ...

    @property
    def open_streams(self) -> int:
        """How many readers they have."""
        ...


class Audit(Protocol):
    """The journal."""

    @property
    def ledger(self) -> Ledger:
        """Where every accepted entry is."""
        ...

    @property
    def state(self) -> Mapping[str, str | int | float]:
        """How it is; numbers among the words."""
        ...


class Health(Protocol):
    """Whether new runs are welcome, and why not."""

    def checks(self) -> dict[str, str]:
        """Part by part: `ok`, or what is wrong."""
        ...

    @property
    def ready(self) -> bool:
        """Whether they are."""
        ...


class StoredAnswers(Protocol):
    """The cache."""

    async def stats(self) -> Stats:
        """The counts and sizes, within about a second."""
        ...

    def counts(self) -> Stats:
        """The counts; sizes as they were lately."""
        ...


class Doorman(Protocol):
    """Who counts the requests that came too often or cost too much."""

    @property
    def exceeded(self) -> Mapping[tuple[str, str], int]:
        """By scope and limit."""
        ...


class Board(Protocol):
    """The circuit breakers of the models."""

    def states(self) -> Mapping[str, State]:
        """By name."""
        ...


class Lag(Protocol):
    """How late the event loop is, in seconds."""

    @property
    def now_s(self) -> float:
        """At the last look."""
        ...

    @property
    def p99_s(self) -> float:
        """Of the looks of the last while."""
        ...


class Queue(Protocol):
    """Who waits for a run of their own."""

    @property
    def waiting(self) -> int:
        """How many."""
        ...

    @property
    def refused(self) -> Mapping[str, int]:
        """How many were sent away, by reason."""
        ...


class Ended(Protocol):
    """Connections that the server ended, and questions that it did not listen to."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many, by why."""
        ...


@dataclass(slots=True)
class Sources:
    """The parts that are asked; None: there is no such part.

    version, most_runs and breaker_label, by which a breaker is told, are settled at the start.
    """

    version: str
    most_runs: int
    breaker_label: Callable[[str], str] = str
    runs: Registry | None = None
    audit: Audit | None = None
    health: Health | None = None
    cache: StoredAnswers | None = None
    doorman: Doorman | None = None
    board: Board | None = None
    lag: Lag | None = None
    queue: Queue | None = None
    ended: Ended | None = None


def readings(of: Sources) -> list[Reading]:
    """Everything, on the event loop, in some 50 us."""
    return [
        gauges("tandem_build_info", "The version that runs.", "version", [(of.version, 1)]),
        *_health(of.health),
        *_runs(of),
        *_audit(of.audit),
        *_cache(of.cache),
        *_protection(of),
    ]


def _health(health: Health | None) -> list[Reading]:
    checks = {} if health is None else health.checks()
    ready = gauge("tandem_ready", "1 when new runs are welcome.", int(health is not None and health.ready))
    parts = ((part, int(said == "ok")) for part, said in checks.items())
    return [ready, gauges("tandem_part_ok", "1 when a part is well.", "part", parts)]


def _runs(of: Sources) -> list[Reading]:
    runs = of.runs
    live, streams, strays = (0, 0, 0) if runs is None else (runs.live, runs.open_streams, len(runs.strays))
    return [
        gauge("tandem_live_runs", "Runs that have not ended.", live),
        gauge("tandem_live_runs_limit", "How many there may be (MAX_LIVE_RUNS).", of.most_runs),
        gauge("tandem_open_streams", "Readers of live runs.", streams),
        gauge("tandem_stuck_lanes", "Lanes that did not stop when they were cancelled.", strays),
    ]


def _audit(audit: Audit | None) -> list[Reading]:
    if audit is None:
        return []
    books, state = audit.ledger, audit.state
    counted = ((name, getattr(books, name)) for name in (*_ENDS, *_ASIDE))
    placed = sum(getattr(books, name) for name in _ENDS[1:]) + books.spooled + books.in_flight
    numbers = (
        ("spool_bytes", "tandem_audit_spool_bytes", "Bytes on the disk and not in PostgreSQL."),
        ("spool_max_bytes", "tandem_audit_spool_limit_bytes", "How many there may be (SPOOL_MAX_BYTES)."),
        ("memory_bytes", "tandem_audit_memory_bytes", "Bytes of records that are only in memory."),
    )
    return [
        counters("tandem_audit_records_total", "Records, by what became of them.", "state", counted),
        gauge("tandem_audit_spool_records", "Records on the disk and not in PostgreSQL.", books.spooled),
        gauge("tandem_audit_in_flight_records", "Records that are only in memory.", books.in_flight),
        gauge("tandem_audit_spool_oldest_seconds", "Age of the oldest record on its way.", books.oldest_s),
        gauge("tandem_audit_imbalance", "Accepted records in no place, or in two: always 0.", books.accepted - placed),
        gauge("tandem_audit_ok", "1 when the sink and the store are well.", int(state["status"] == "ok")),
        *(gauge(name, words, float(state[key])) for key, name, words in numbers if key in state),
    ]


def _cache(cache: StoredAnswers | None) -> list[Reading]:
    stats = None if cache is None else cache.counts()
    levels = {} if stats is None else stats.levels

    def each(field: str) -> list[tuple[str, float]]:
        """One number of every level that has it."""
        return [(name, float(n)) for name, level in levels.items() if (n := getattr(level, field)) is not None]

    return [
        counters("cache_hits_total", "Answers that a level had.", "level", each("hits")),
        counters("cache_misses_total", "Answers that a level did not have.", "level", each("misses")),
        gauges("cache_size", "Answers held.", "level", each("entries")),
        gauges("cache_size_bytes", "Bytes held.", "level", each("bytes")),
        counters("tandem_cache_errors_total", "Calls that failed or were late.", "level", each("errors")),
        gauges("tandem_cache_level_ok", "1 when a level is asked.", "level", _well(levels)),
        Reading(_EVICTED, _evictions(levels), "counter"),
        *([] if stats is None else _saved(stats)),
    ]


def _well(levels: Mapping[str, LevelStats]) -> list[tuple[str, float]]:
    return [(name, float(level.state in WELL)) for name, level in levels.items()]


def _evictions(levels: Mapping[str, LevelStats]) -> dict[tuple[str, ...], float]:
    return {(name, why): n for name, level in levels.items() for why, n in level.evictions.items()}


def _saved(stats: Stats) -> list[Reading]:
    looked = (("hit", stats.hits), ("miss", stats.lookups - stats.hits))
    return [
        counters("tandem_cache_lookups_total", "Looks over all levels.", "result", looked),
        counter("tandem_cache_saved_usd_total", "What replays did not cost.", stats.saved.cost_usd),
    ]


def _protection(of: Sources) -> list[Reading]:
    exceeded: dict[Labels, float] = {} if of.doorman is None else dict(of.doorman.exceeded.items())
    lag = [] if of.lag is None else [("now", of.lag.now_s), ("p99", of.lag.p99_s)]
    states = {} if of.board is None else of.board.states()
    refused = {} if of.queue is None else dict(of.queue.refused)
    ended = {} if of.ended is None else dict(of.ended.counts)
    return [
        Reading(_EXCEEDED, exceeded, "counter"),
        Reading(_RATED, exceeded, "counter"),
        gauges("tandem_loop_lag_seconds", "How late the event loop is.", "stat", lag),
        gauges(
            "tandem_breaker_state", "0 closed, 1 half-open, 2 open.", "breaker", _numbered(states, of.breaker_label)
        ),
        gauge("tandem_queue_waiting", "Questions that wait for a run.", 0 if of.queue is None else of.queue.waiting),
        counters("tandem_queue_refused_total", "Questions sent away before a race.", "reason", refused.items()),
        counters("tandem_connections_ended_total", "Connections cut short.", "reason", ended.items()),
    ]


def _numbered(states: Mapping[str, State], label: Callable[[str], str]) -> Iterable[tuple[str, float]]:
    """By label; of those that share one, the worst."""
    found: dict[str, float] = {}
    for name, state in states.items():
        found[label(name)] = max(found.get(label(name), 0), STATES[state])
    return found.items()
