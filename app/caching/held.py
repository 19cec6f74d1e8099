"""tandem cache stats and clear: what is stored, what it was good for, and forgetting it."""

import asyncio
import re
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Column, Table

from app.errors import MalformedRequest
from app.failing import clear_errors
from app.terminal.server import LOCAL_URL, Url, server

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
COUNTS: Final = ("entries", "bytes", "hits", "misses", "errors")


def stats(url: Url = LOCAL_URL) -> None:
    """What each level holds, how often it was asked, and what the replays saved since the server began."""
    with clear_errors():
        asyncio.run(_stats(url, Console()))


async def _stats(url: str, console: Console) -> None:
    async with server(url) as running:
        told = await running.stats()
    table = Table("level", "state", *(Column(name, justify="right") for name in COUNTS))
    for name, level in told["levels"].items():
        counts = [level[column] for column in COUNTS]
        table.add_row(name, level["state"], *("?" if count is None else f"{count:,}" for count in counts))
    if table.row_count:
        console.print(table)
    console.print(_sum(told), soft_wrap=True, highlight=False)


def _sum(told: dict[str, Any]) -> str:
    """All levels together, in a line or two."""
    if told["status"] == "off":
        return "This server stores no answers (CACHE=false)."
    rate = "none yet" if told["hit_rate"] is None else f"{told['hit_rate']:.1%} of {told['lookups']:,}"
    saved = told["saved"]
    tokens = saved["input_tokens"] + saved["output_tokens"]
    return (
        f"hits {rate}, {told['replays']:,} replays, {told['dropped']:,} dropped\n"
        f"saved {saved['latency_ms'] / 1000:,.1f} s, {tokens:,} tokens, ${saved['cost_usd']:,.6f} as far as known"
    )


def clear(
    fingerprint: Annotated[str | None, typer.Argument(help="Of the one question to forget; all without it.")] = None,
    url: Url = LOCAL_URL,
) -> None:
    """Forget stored answers, on every level; yours alone unless CACHE_SCOPE shares them."""
    with clear_errors():
        typer.echo(asyncio.run(_clear(url, fingerprint)))


async def _clear(url: str, fingerprint: str | None) -> str:
    if fingerprint is not None and _FINGERPRINT.fullmatch(fingerprint) is None:
        # In an address it could mean another one: `.` that of all answers.
        raise MalformedRequest("a fingerprint is 64 digits in lower-case hex, as `done` and the record have it")
    async with server(url) as running:
        if fingerprint is not None:
            await running.call("DELETE", f"/api/cache/{fingerprint}")
            return "1 answer forgotten"
        _, told = await running.call("DELETE", "/api/cache")
        return f"{told['removed']:,} answer{'' if told['removed'] == 1 else 's'} forgotten"
