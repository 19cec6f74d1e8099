"""A million made-up runs in a database of their own, and how long the server takes to answer about them.

`python -m bench.million [RUNS]` prints one line a question: the median of five times by EXPLAIN ANALYZE, warm, without
the clock readings of single rows, which would cost more than the rows.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

from app.experiments.list import Filters, Position
from app.experiments.rollup import By, Selection
from app.postgres.cells import OF_VERDICTS, of_lane
from app.postgres.conditions import conditioned
from app.postgres.embedded import EmbeddedPostgres
from app.postgres.listing import page_of
from app.postgres.migrate import migrate
from app.postgres.pool import Pool
from app.postgres.rollups import READ, Asked, arguments_of
from app.postgres.upkeep import Upkeep
from app.question import Caller

RUNS = 1_000_000
DAYS = 30
DAY = timedelta(hours=24, seconds=7)
ME = Caller("bench")
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "fsync": "off"}

# Nine in ten belong to the caller that asks. Labels, statuses and models are common ones and a rare one, 1 in 10,000.
FILL = """
CREATE TEMP TABLE made AS
SELECT n, to_timestamp($1::bigint / 1000.0) - n * $2::interval AS created_at,
       random() AS a, random() AS b, random() AS c, random() AS d, random() AS e,
       exp(5.5 + 0.6 * (random() + random() + random() + random() - 2)) AS fast_ms,
       exp(8.2 + 0.9 * (random() + random() + random() + random() - 2)) AS slow_ms
FROM generate_series(0, $3::bigint - 1) AS n
"""
RUN_ROWS = """
INSERT INTO runs (run_id, created_at, version, caller, instance, status, policy, source, fingerprint, deadline_ms,
                  final_lane, verified, change, agreement, latency_ms, cost_nano, usage, experiment, variant,
                  prompt_class, tags)
SELECT (lpad(to_hex((extract(epoch FROM created_at) * 1000)::bigint), 12, '0') || '7'
        || lpad(to_hex(n % 4096), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid,
       created_at, 3, CASE WHEN n % 10 = 0 THEN 'other' ELSE 'bench' END, 'one',
       CASE WHEN a < 0.9 THEN 'completed' WHEN a < 0.96 THEN 'partial' WHEN a < 0.9899 THEN 'timeout'
            WHEN a < 0.9999 THEN 'failed' ELSE 'shutdown' END,
       'race', CASE WHEN b < 0.8 THEN 'live' WHEN b < 0.9999 THEN 'cache' ELSE 'import' END,
       md5(n::text) || md5(n::text), 50000, 'slow', true, 'confirmed',
       CASE WHEN a < 0.9 THEN jsonb_build_object(
           'verdict', CASE WHEN c < 0.6 THEN 'agree' WHEN c < 0.9999 THEN 'disagree' ELSE 'unknown' END,
           'method', 'exact', 'version', 1, 'similarity', 0.5
       ) END,
       greatest(fast_ms, slow_ms), (1000 * slow_ms)::bigint, '{"input_tokens": 10}',
       CASE WHEN d < 0.3 THEN 'speed' WHEN d < 0.6 THEN 'quality' WHEN d < 0.6001 THEN 'rare' END,
       CASE WHEN d < 0.6 THEN CASE WHEN e < 0.5 THEN 'a' WHEN e < 0.9999 THEN 'b' ELSE 'rare' END END,
       CASE WHEN e < 0.5 THEN 'maths' WHEN e < 0.8 THEN 'geography' WHEN e < 0.9 THEN 'law'
            WHEN e < 0.9001 THEN 'rare' END,
       CASE WHEN c < 0.2 THEN '{common,second}' WHEN c < 0.2001 THEN '{rare}' ELSE '{}' END::text[]
FROM made
"""
LEG_ROWS = """
INSERT INTO legs (run_id, lane, caller, created_at, model, outcome, ttft_ms, latency_ms, censored, input_tokens,
                  output_tokens, usage_source, cost_nano)
SELECT r.run_id, l.lane, r.caller, r.created_at,
       CASE WHEN m.b > 0.9999 THEN 'openai:rare' WHEN m.d < 0.5 THEN l.lane || ':one' ELSE l.lane || ':two' END,
       CASE WHEN l.lane = 'slow' AND m.a > 0.96 THEN 'timeout' ELSE 'completed' END,
       l.ms / 3, l.ms, l.lane = 'slow' AND m.a > 0.96, 10, 100, 'reported', (500 * l.ms)::bigint
FROM runs AS r
JOIN made AS m ON m.n = ('x' || right(replace(r.run_id::text, '-', ''), 15))::bit(60)::bigint
CROSS JOIN LATERAL (VALUES ('fast', m.fast_ms), ('slow', m.slow_ms)) AS l (lane, ms)
"""
TAG_ROWS = """
INSERT INTO run_tags (run_id, tag, caller, created_at) SELECT run_id, unnest(tags), caller, created_at FROM runs
"""
DIRTY = "INSERT INTO rollup_dirty SELECT DISTINCT caller, date_bin('1 hour', created_at, 'epoch') FROM runs"
DIRTY_NOW = (
    "INSERT INTO rollup_dirty SELECT DISTINCT caller, date_bin('1 hour', created_at, 'epoch') FROM runs "
    "WHERE created_at > $1"
)

COMMON: dict[str, Any] = {
    "status": "completed", "outcome": "completed", "experiment": "speed", "variant": "b", "prompt_class": "law",
    "model": "fast:one", "source": "live", "agreement": "agree", "min_latency_ms": 3000.0, "tag": "common",
}  # fmt: skip
RARE: dict[str, Any] = {
    "status": "shutdown", "outcome": "timeout", "experiment": "rare", "variant": "rare", "prompt_class": "rare",
    "model": "openai:rare", "source": "import", "agreement": "unknown", "min_latency_ms": 20_500.0, "tag": "rare",
}  # fmt: skip


async def fill(connection: asyncpg.Connection, runs: int, now: datetime) -> None:
    """Make the runs, evenly spread over the days before now."""
    step = timedelta(days=DAYS) / runs
    await connection.execute("SET work_mem = '256MB'")
    await connection.execute(FILL, int(now.timestamp() * 1000), step, runs, timeout=None)
    for rows in (RUN_ROWS, LEG_ROWS, TAG_ROWS, DIRTY):
        await connection.execute(rows, timeout=None)
    await connection.execute("RESET work_mem")
    await connection.execute("VACUUM ANALYZE")


async def server_ms(connection: asyncpg.Connection, sql: str, arguments: tuple[object, ...]) -> float:
    """The median time the server takes for a statement, planning included, once everything it reads is in memory."""
    times: list[float] = []
    for _ in range(6):
        found = await connection.fetch(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", *arguments)
        plan = json.loads(found[0][0])[0]
        times.append(plan["Planning Time"] + plan["Execution Time"])
    return median(times[1:])


async def pages(connection: asyncpg.Connection, now: datetime) -> None:
    """A page of fifty, for each filter, with a common and with a rare value; and one deep in the past."""
    deep = Position(now - timedelta(days=DAYS / 2), "ffffffff-ffff-ffff-ffff-ffffffffffff")
    asked: list[tuple[str, Filters, Position | None]] = [("no filter", Filters(), None), ("deep", Filters(), deep)]
    asked += [(f"{name}, common", Filters(**{name: value}), None) for name, value in COMMON.items()]
    asked += [(f"{name}, rare", Filters(**{name: value}), None) for name, value in RARE.items()]
    for name, filters, before in asked:
        sql, arguments = page_of(ME, filters, 51, before)
        print(f"page: {name:28} {await server_ms(connection, sql, arguments):9.2f} ms")


async def stats(connection: asyncpg.Connection, now: datetime) -> None:
    """Statistics of a day, a week and of everything, by several keys."""
    keys: list[tuple[By, ...]] = [(), ("model",), ("experiment", "variant"), ("prompt_class", "model"), ("day",)]
    spans = {"24 h": DAY, "7 d": timedelta(days=7), "everything": None}
    for span, ago in spans.items():
        for by in keys:
            wanted = Selection(since=None if ago is None else now - ago)
            took = await server_ms(connection, READ, arguments_of(ME, wanted, Asked(by)))
            print(f"stats: {span:10} by {', '.join(by) or 'nothing':22} {took:9.2f} ms")
    day = Selection(since=now - DAY)
    took = await server_ms(connection, READ, arguments_of(ME, day, Asked(("hour",))))
    print(f"stats: 24 h       by hour                   {took:9.2f} ms")
    await connection.execute(DIRTY_NOW, now - timedelta(hours=2))
    took = await server_ms(connection, READ, arguments_of(ME, day, Asked()))
    print(f"stats: 24 h, the last hours not rolled up    {took:9.2f} ms")
    await connection.execute("DELETE FROM rollup_dirty")


async def reports(connection: asyncpg.Connection) -> None:
    """What /agreement and /deadline-curve read of everything."""
    verdicts = Asked(("prompt_class",), OF_VERDICTS, measured=True)
    took = await server_ms(connection, READ, arguments_of(ME, Selection(), verdicts))
    print(f"agreement: everything, roll-ups               {took:9.2f} ms")
    took = await server_ms(connection, *conditioned("count_judged", Selection(), ME.id))
    print(f"agreement: everything, judgements             {took:9.2f} ms")
    curve = Asked((), of_lane("slow"), "slow", measured=True)
    took = await server_ms(connection, READ, arguments_of(ME, Selection(), curve))
    print(f"deadline curve: everything                    {took:9.2f} ms")


async def main(runs: int) -> None:
    """Make, roll up, measure."""
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        os.chmod(folder, 0o711)  # a system user runs PostgreSQL
        async with EmbeddedPostgres(Path(folder) / "home", SETTINGS) as server:
            await migrate(server.dsn)
            connection = await asyncpg.connect(server.dsn)
            began = time.perf_counter()
            await fill(connection, runs, now)
            print(f"made {runs} runs in {time.perf_counter() - began:.1f} s")
            async with Pool(server.dsn) as pool:
                began = time.perf_counter()
                hours = await Upkeep(pool).roll_up()
            print(f"rolled up {hours} hours in {time.perf_counter() - began:.1f} s")
            await connection.execute("VACUUM ANALYZE rollups, rollup_dirty")
            await pages(connection, now)
            await stats(connection, now)
            await reports(connection)
            await connection.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS))
