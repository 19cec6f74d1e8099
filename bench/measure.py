"""Measure cells: one workload at one number of streams, every target in turn, again and again."""

import contextlib
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from bench.load import Job
from bench.plan import Answer
from bench.processes import ROOT, Cores, MemorySampler, children_cpu_s, cpu_s
from bench.servers import Target, baseline, folder, tandem, upstream, upstream_stats

Block = dict[str, Any]
WARM: Final = Answer("20t-0ms", 20, 0, 0)
WARM_STREAMS: Final = 8
WARM_S: Final = 0.5
FAULTS: Final = ("status_errors", "count_errors", "not_completed", "lane_timeouts", "cut")
PAUSE_S: Final = 0.3  # for the record to be written and processors to calm down


@dataclass(frozen=True, slots=True)
class External:
    """A Tandem that somebody else runs on this machine, asking the upstream on upstream_port; pid 0: not known."""

    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. workloads: by name; seconds: no new request is begun in a block after these."""

    workloads: dict[str, Answer]
    streams: list[int]
    repeats: int
    seconds: float
    upstream_port: int
    external: External | None

    def cells(self) -> Iterator[tuple[str, Answer, int]]:
        """Every workload at every number of streams; the long one, a test of endurance, at the largest alone."""
        for name, answer in self.workloads.items():
            for streams in self.streams if name != "long" else [max(self.streams)]:
                yield name, answer, streams


def run(plan: Plan, cores: Cores, tell: Callable[[Block], None]) -> list[Block]:
    """Every cell, each on freshly started servers so that memory can be compared; `tell` hears of each block."""
    cells = []
    for name, answer, streams in plan.cells():
        with _servers(plan, cores) as (direct, servers):
            blocks = _cell(plan, answer, streams, [direct, *servers], tell)
        for target in [direct, *servers]:
            mine = [block for block in blocks if block["target"] == target.name]
            head = {"workload": name, "model": answer.model, "streams": streams, "target": target.name}
            cells.append({**head, "median": _median(mine), "repeats": mine})
    return cells


@contextlib.contextmanager
def _servers(plan: Plan, cores: Cores) -> Iterator[tuple[Target, list[Target]]]:
    """Upstream, and the warmed servers before it."""
    with contextlib.ExitStack() as stack:
        logs = stack.enter_context(folder())
        direct = stack.enter_context(upstream(logs, plan.upstream_port))
        servers = [stack.enter_context(baseline(logs, direct.port, cores))]
        if plan.external is None:
            servers.append(stack.enter_context(tandem(logs, direct.port, cores)))
        else:
            servers.append(Target("tandem", plan.external.port, plan.external.pid or None))
        for server in servers:
            _load(_job(server, WARM, WARM_STREAMS, WARM_S))
        yield direct, servers


def _cell(
    plan: Plan, answer: Answer, streams: int, targets: list[Target], tell: Callable[[Block], None]
) -> list[Block]:
    blocks: list[Block] = []
    for repeat in range(plan.repeats):
        for target in targets:
            time.sleep(PAUSE_S)
            block = _block(target, targets[0], _job(target, answer, streams, plan.seconds))
            block.update(repeat=repeat, target=target.name)
            _compare(block, next((b for b in blocks if b["repeat"] == repeat and b["target"] == "direct"), None))
            _memory(block, answer, streams)
            blocks.append(block)
            tell({**block, "streams": streams, "model": answer.model})
    return blocks


def _job(target: Target, answer: Answer, streams: int, seconds: float) -> Job:
    return Job(
        port=target.port,
        path=target.path,
        body=target.body(answer),
        dialect=target.dialect,
        tokens=answer.tokens,
        streams=streams,
        seconds=seconds,
        ramp_s=answer.ramp_s(streams),
        limit_s=answer.limit_s(streams, seconds),
    )


def _load(job: Job) -> Block:
    """What the load generator, a process of its own, saw."""
    command = [sys.executable, "-m", "bench.load"]
    text, timeout = json.dumps(dataclasses.asdict(job)), job.limit_s + 30
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the load on port {job.port} failed:\n{done.stderr[-2000:]}")
    result: Block = json.loads(done.stdout)
    return result


def _block(target: Target, direct: Target, job: Job) -> Block:
    """One load on one target, with what it cost in processor time and memory."""
    assert direct.pid is not None
    late_before, upstream_before = upstream_stats(direct.port)["late"], cpu_s(direct.pid)
    costs = target is not direct and target.pid is not None
    block = _with_costs(target.pid, job) if costs and target.pid else _load(job)
    block["upstream_cpu_s"] = round(cpu_s(direct.pid) - upstream_before, 3)
    block["upstream_late"] = upstream_stats(direct.port)["late"] - late_before
    block["events_per_s"] = round(block["events"] / block["wall_s"], 1)
    block["requests_per_s"] = round(block["asked"] / block["wall_s"], 1)
    return block


def _with_costs(pid: int, job: Job) -> Block:
    """The load, and what the server spent meanwhile; its children are the embedded PostgreSQL."""
    server_before, children_before = cpu_s(pid), children_cpu_s(pid)
    with MemorySampler(pid) as memory:
        block = _load(job)
    time.sleep(PAUSE_S)
    server_s, children_s = cpu_s(pid) - server_before, children_cpu_s(pid) - children_before
    events, requests = max(1, block["events"]), max(1, block["asked"])
    first_end_s = block["first_end_us"] / 1e6 or float("inf")
    block.update(
        server_cpu_s=round(server_s, 3),
        database_cpu_s=round(children_s, 3),
        server_us_per_event=round(1e6 * server_s / events, 1),
        database_us_per_event=round(1e6 * children_s / events, 1),
        cpu_us_per_event=round(1e6 * (server_s + children_s) / events, 1),
        server_ms_per_request=round(1e3 * server_s / requests, 3),
        cpu_ms_per_request=round(1e3 * (server_s + children_s) / requests, 3),
        rss_idle=memory.idle,
        rss_open=memory.peak(first_end_s),
        rss_peak=memory.peak(),
    )
    return block


def _compare(block: Block, direct: Block | None) -> None:
    """Add what lies between this target and upstream itself in the same repeat."""
    for kind in ("first_token", "token"):
        mine, its = block[f"{kind}_us"], direct and direct[f"{kind}_us"]
        block[f"added_{kind}_us"] = {p: mine[p] - its[p] for p in ("p50", "p99")} if mine and its else None


def _memory(block: Block, answer: Answer, streams: int) -> None:
    """Add the memory of an open stream: growth from idle until the first stream ends, and up to the peak.

    Told of the first block on a fresh server alone, since memory that was used once is used again; and not where
    answers have no gaps, since no stream is open for long there.
    """
    first = block["repeat"] == 0 and answer.gap_ms > 0 and "rss_idle" in block
    for name in ("open", "peak"):
        growth = block[f"rss_{name}"] - block["rss_idle"] if first else 0
        block[f"{name}_kib_per_stream"] = round(growth / 1024 / streams, 1) if first else None


def _median(blocks: list[Block]) -> Block:
    """The median of every number over the repeats, None where there is none; faults are summed, never averaged."""
    flat = [_flat(block) for block in blocks]
    return {
        name: sum(block[name] for block in flat) if name in FAULTS else _middle([block[name] for block in flat])
        for name in flat[0]
        if name not in ("repeat", "target", "first_end_us")
    }


def _middle(values: list[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 3) if known else None


def _flat(block: Block) -> Block:
    """The same with `first_token_us: {p50: ..}` as `first_token_us_p50`."""
    flat: Block = {}
    for name, value in block.items():
        if name.endswith("_us") and not isinstance(value, int):
            flat.update({f"{name}_{p}": value and value[p] for p in ("p50", "p99")})
        else:
            flat[name] = value
    return flat
