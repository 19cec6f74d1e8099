"""What many runs say together, as tables: counts, latencies, and how often both models agree."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from app.terminal.words import dollars, interval, percent, safe, seconds


def show(numbers: dict[str, Any], verdicts: dict[str, Any], console: Console) -> None:
    """The answers of /api/experiments/stats and /agreement, for people."""
    total = numbers["total"]
    if not total["n"] and not sum(total["source"].values()):
        console.print("No runs match. Ask one with `tandem ask`, many with `tandem race`, or widen --since.")
        return
    console.print(Text(_headline(total), style="bold"))
    for group in [total, *(numbers.get("groups") or [])]:
        console.print()
        if group is not total:
            console.print(Text(safe(_key(group))))
        console.print(lanes(group))
    if verdicts["total"]["n"]:
        console.print()
        console.print(agreement(verdicts))
    if numbers["behind"]["hours"]:
        console.print(f"{numbers['behind']['hours']} hours are not counted yet.")


def _headline(total: dict[str, Any]) -> str:
    """How many, how they ended, what it cost."""
    ended = ", ".join(f"{n:,} {status}" for status, n in total["status"].items())
    latency = total["latency"]
    return (
        f"{total['n']:,} runs: {ended or 'none'}; p50 {seconds(latency['p50_ms'])}, p95 {seconds(latency['p95_ms'])}; "
        f"cost {dollars(total['cost']['sum_usd'])}; from the cache {percent(total['cache']['share'])}"
    )


def _key(group: dict[str, Any]) -> str:
    """By what a group was made."""
    return ", ".join(f"{name} {'(none)' if value is None else value}" for name, value in group.get("key", {}).items())


def lanes(group: dict[str, Any]) -> Table:
    """Both lanes side by side, a row each."""
    columns = ("n", "completed", "first token p50", "p95", "total p50", "p95", "tokens out", "cost")
    table = Table("lane", *(Column(name, justify="right") for name in columns), box=None, pad_edge=False)
    for name, lane in group["lanes"].items():
        completed = lane["outcome"].get("completed", 0)
        out = lane["tokens"]["output"]["sum"]
        table.add_row(
            name,
            f"{lane['n']:,}",
            percent(completed / lane["n"] if lane["n"] else None),
            *(seconds(lane[span][at]) for span in ("first_token", "total") for at in ("p50_ms", "p95_ms")),
            "unknown" if out is None else f"{out:,}",
            dollars(lane["cost"]["sum_usd"]),
        )
    return table


def agreement(verdicts: dict[str, Any]) -> Table:
    """How often both models say the same, by class, each share with its 95 % interval."""
    columns = ("n", "agree", "disagree", "unknown", "slow takes longer by", "usable head start")
    table = Table("class", *(Column(name, justify="right") for name in columns), box=None, pad_edge=False)
    for name, told in _rows(verdicts):
        table.add_row(
            Text(safe(name)),
            f"{told['n']:,}",
            *(interval(told[verdict]) for verdict in ("agree", "disagree", "unknown")),
            seconds(told["extra_wait_ms"]["mean"]),
            seconds(told["usable_head_start_ms"]["mean"]),
        )
    return table


def _rows(verdicts: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each class, then all of them; one class alone is all of them."""
    classes = verdicts["classes"]
    if len(classes) > 1 or any(one["class"] is not None for one in classes):
        yield from ((one["class"] or "(no class)", one) for one in classes)
    yield "all", verdicts["total"]
