"""`tandem top`: what a running server does now, as a picture that is drawn again and again."""

from collections.abc import Iterator
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from app.terminal.server import Server
from app.terminal.stream import Refused
from app.terminal.words import dollars, percent, safe, seconds

WINDOWS: Final = ("5m", "1h", "24h")
ADMINS: Final = 403  # what a key without that role gets from /health/detailed
WORST: Final = {0: "closed", 1: "half-open", 2: "open"}

Seen = tuple[dict[str, Any], dict[str, Any] | None]


async def look(running: Server) -> Seen:
    """The answers of /metrics and /health/detailed; None instead of the second for who may not see it."""
    metrics = await running.read("/metrics")
    try:
        return metrics, await running.read("/health/detailed")
    except Refused as error:
        if error.status != ADMINS:
            raise
        return metrics, None


def picture(seen: Seen, window: str) -> RenderableType:
    """The server in one screen."""
    metrics, health = seen
    told = metrics["windows"][window]
    lines: list[RenderableType] = [_head(metrics, health), Text()]
    lines += [_traffic(told, window), lanes(told), Text()]
    lines += [Text(safe(line)) for line in _below(metrics["now"])]
    return Group(*lines)


def _head(metrics: dict[str, Any], health: dict[str, Any] | None) -> Text:
    """The state, and what is open this moment."""
    now = metrics["now"]
    state = health["status"] if health else ("ready" if now["tandem_ready"] else "not ready")
    style = "bold green" if state in {"ok", "ready"} else "bold red"
    runs = f"{now['tandem_live_runs']:,.0f} of {now['tandem_live_runs_limit']:,.0f}"
    facts = (
        f"  tandem {metrics['version']}  live runs {runs}  streams {now['tandem_open_streams']:,.0f}  "
        f"waiting {now['tandem_queue_waiting']:,.0f}  stuck lanes {now['tandem_stuck_lanes']:,.0f}  "
        f"loop lag p99 {now['tandem_loop_lag_seconds']['p99'] * 1000:.0f} ms"
    )
    return Text.assemble((safe(state), style), safe(facts))


def _traffic(told: dict[str, Any], window: str) -> Text:
    """Requests and runs of the window."""
    requests, runs = told["requests"], told["runs"]
    ended = ", ".join(f"{n:,} {status}" for status, n in runs["status"].items()) or "none"
    refused = sum(told["refusals"].values())
    return Text(
        f"last {window}: {requests['n']:,} requests ({requests['per_second']:.1f}/s, errors "
        f"{percent(requests['error_rate'])}, refused {refused:,}); runs {safe(ended)}; "
        f"cache hits {percent(runs['cache_hit_rate'])}; cost {dollars(told['cost_usd'])}"
    )


def lanes(told: dict[str, Any]) -> Table:
    """One row for each lane and model of the window."""
    columns = ("n", "completed", "first token p50", "p95", "total p50", "p95", "p99")
    table = Table("lane", "model", *(Column(name, justify="right") for name in columns), box=None, pad_edge=False)
    for name, lane in told["lanes"].items():
        which, _, model = name.partition(" ")
        first, total = lane["first_token_ms"], lane["total_ms"]
        table.add_row(
            Text(safe(which)),
            Text(safe(model)),
            f"{lane['n']:,}",
            percent(lane["outcome"].get("completed", 0) / lane["n"] if lane["n"] else None),
            *(seconds(times.get(at)) for times, at in ((first, "p50"), (first, "p95"))),
            *(seconds(total.get(at)) for at in ("p50", "p95", "p99")),
        )
    if not told["lanes"]:
        table.add_row("none", "no run ended in this window")
    return table


def _below(now: dict[str, Any]) -> Iterator[str]:
    """The record, the breakers that are not closed, the machine."""
    audit = now["tandem_audit_records_total"]
    balance = now["tandem_audit_imbalance"]
    kept = ", ".join(f"{name.replace('_', '-')} {audit[name]:,.0f}" for name in ("accepted", "stored", "dead_lettered"))
    spooled = (
        f"{now['tandem_audit_spool_records']:,.0f}, the oldest for {now['tandem_audit_spool_oldest_seconds']:.0f} s"
    )
    yield f"record: {kept}; spooled {spooled}; {f'out of balance by {balance:,.0f}' if balance else 'balanced'}"
    sick = [f"{name} {WORST.get(int(state), 'open')}" for name, state in now["tandem_breaker_state"].items() if state]
    yield f"breakers: {', '.join(sick) or 'all closed'}"
    yield (
        f"process: {now['process_resident_memory_bytes'] / 2**20:,.0f} MiB, {now['process_open_fds']:,.0f} files, "
        f"{now['tandem_disk_free_bytes'] / 2**30:,.1f} GiB of disk free"
    )
