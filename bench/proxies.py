"""What nginx, haproxy and caddy do to a stream: how far apart its events arrive, when a client's leaving is heard.

    python -m bench.proxies                     # a few minutes
    python -m bench.proxies --only idle --idle 600    # streams that are silent for ten minutes, through all at once

A client through each proxy and one past it ask at the same moment. The models are a fake upstream in this process,
which notes when its last connection was closed. Goals: the longest gap is at most 100 ms longer through the proxy;
upstream hears of a leaving within a second of the grace. Lines marked `known` show what other settings do instead.
"""

import asyncio
import contextlib
import itertools
import json
import shutil
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from bench.fronts import GZIP, KINDS, NEEDED, Front, Wish, fronting, search_path, self_signed
from bench.processes import Child
from bench.servers import folder, free_port, get
from bench.upstream import Counters, Stream, Wheel

GAP_MS: Final = 50
TALKING: Final = f"openai:2000t-{GAP_MS}ms"
SILENT: Final = "openai:1t-0ms-3600000ttft"
LATER_MS: Final = 100.0
WITHIN_MS: Final = 1000.0
GRACES: Final = (0, 1)
STEADY_S: Final = 4.0
HEARD_S: Final = 45.0  # twice the keep-alive and some more
KNOWN: Final = "known"

KEPT_OPEN: Final = 'proxy_http_version 1.1; proxy_set_header Connection "";'

Read = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to set up a proxy. known: a goal is missed with it, as documented."""

    name: str
    kind: str
    more: str = ""
    balance: str = ""
    tls: bool = False
    known: bool = False
    encoding: str = "identity"


VARIANTS: Final = (
    Variant("nginx", "nginx"),
    Variant("nginx, HTTP/1.1 to the server", "nginx", KEPT_OPEN),
    Variant("nginx, gzip", "nginx", GZIP["nginx"], encoding="gzip"),
    Variant("nginx, TLS, HTTP/2", "nginx", tls=True),
    Variant("haproxy", "haproxy", known=True),
    Variant("haproxy, two options", "haproxy", NEEDED["haproxy"]),
    Variant("haproxy, the same, gzip", "haproxy", GZIP["haproxy"], encoding="gzip"),
    Variant("haproxy, the same, TLS, HTTP/2", "haproxy", NEEDED["haproxy"], tls=True),
    Variant("caddy", "caddy"),
    Variant("caddy, gzip", "caddy", GZIP["caddy"], encoding="gzip"),
    Variant("caddy, TLS, HTTP/2", "caddy", tls=True),
    Variant("caddy, flush_interval -1", "caddy", balance="flush_interval -1", known=True),
)


@dataclass(slots=True)
class Result:
    """What one variant did. Times in milliseconds; None: not within 45 s."""

    name: str
    known: bool
    gaps_ms: list[float] = field(default_factory=list)
    direct_ms: list[float] = field(default_factory=list)
    heard_ms: dict[str, float | None] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether both goals were reached."""
        late = any(ms is None or ms > int(name[-1]) * 1000 + WITHIN_MS for name, ms in self.heard_ms.items())
        return not late and max(self.gaps_ms) <= max(self.direct_ms) + LATER_MS


@contextlib.asynccontextmanager
async def asked(front: Front, body: dict[str, Any], encoding: str = "identity") -> AsyncIterator[Read]:
    """One question; what is yielded reads the next bytes of the answer. The client leaves with the block."""
    sent = json.dumps({"input": "Are you there?", "cache": "off", **body})
    headers = {"Content-Type": "application/json", "Accept-Encoding": encoding}
    if front.tls:
        options = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
        command = ["curl", "-skN", "--http2", *options, "-d", sent, f"{front.url}/v1/reason"]
        client = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert client.stdout is not None
        try:
            yield lambda: client.stdout.read(65536)  # type: ignore[union-attr]  # it has just been looked at
        finally:
            with contextlib.suppress(ProcessLookupError):
                client.kill()
            await client.wait()
        return
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    lines = [*(f"{name}: {value}" for name, value in headers.items()), f"Content-Length: {len(sent)}"]
    writer.write("\r\n".join(["POST /v1/reason HTTP/1.1", "Host: 127.0.0.1", *lines, "", sent]).encode())
    try:
        yield lambda: reader.read(65536)
    finally:
        writer.close()


async def gaps(front: Front, body: dict[str, Any], encoding: str) -> list[float]:
    """The milliseconds between arrivals, from the second one on: the first has the head with it."""
    arrivals: list[float] = []
    async with asked(front, body, encoding) as read:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STEADY_S):
                while await read():
                    arrivals.append(time.perf_counter() * 1000)
    between = [later - earlier for earlier, later in itertools.pairwise(arrivals[1:])]
    return between or [STEADY_S * 1000]


async def heard(front: Front, model: str, counters: Counters) -> float | None:
    """A client leaves while both lanes are being asked: the time until upstream has no connection in use."""
    body = {"fast": {"model": model}, "slow": {"model": model}}
    async with asked(front, body) as read, asyncio.timeout(30):
        await read()
        while counters.active < 2:  # noqa: ASYNC110  # upstream tells nobody
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        begun = time.perf_counter()
    while counters.active:
        if time.perf_counter() > begun + HEARD_S:
            return None
        await asyncio.sleep(0.001)
    return (time.perf_counter() - begun) * 1000


async def quiet(counters: Counters) -> None:
    """Return when what an earlier client left behind is gone."""
    while counters.active:  # noqa: ASYNC110  # upstream tells nobody
        await asyncio.sleep(0.05)


async def measure(variant: Variant, ports: dict[int, int], counters: Counters, home: Path) -> Result:
    """Both questions to one variant; ports: of a server for each grace."""
    result = Result(variant.name, variant.known)
    pem = home / "site.pem" if variant.tls else None
    steady = {"fast": {"model": "scripted:fast?first=0&tokens=1"}, "slow": {"model": TALKING}}
    for grace, port in ports.items():
        wish = Wish(variant.kind, (port,), variant.more, variant.balance, pem)
        with fronting(wish, home / f"{VARIANTS.index(variant)}-{grace}") as front:
            if not result.gaps_ms:
                direct = Front("direct", port, home)
                both = (gaps(front, steady, variant.encoding), gaps(direct, steady, "identity"))
                result.gaps_ms, result.direct_ms = await asyncio.gather(*both)
                await quiet(counters)
            for name, model in (("talking", TALKING), ("silent", SILENT)):
                result.heard_ms[f"{name}, grace {grace}"] = await heard(front, model, counters)
        await quiet(counters)  # without the proxy nobody reads
    return result


@contextlib.contextmanager
def server(home: Path, grace: int, upstream: int, idle_s: float) -> Iterator[int]:
    """Tandem with wide bounds on a lane, on the port that is yielded."""
    port, wide = free_port(), str(min(3600, idle_s + 300))
    own = {"PORT": str(port), "TANDEM_HOME": str(home), "DISCONNECT_GRACE_S": str(grace), "LOG_LEVEL": "WARNING"}
    bounds = {f"{lane}_{name}TIMEOUT_S": wide for lane in ("FAST", "SLOW") for name in ("", "FIRST_TOKEN_", "IDLE_")}
    models = {"FAST_MODEL": "scripted:fast", "SLOW_MODEL": "scripted:slow"}
    base_url = {"OPENAI_BASE_URL": f"http://127.0.0.1:{upstream}/v1"}
    with Child(["app.cli", "serve"], home.parent / f"{home.name}.log", own | bounds | models | base_url) as child:
        child.await_ready(lambda: get(port, "/health/ready")[0] == 200)
        yield port


async def idle(front: Front, idle_s: float) -> dict[str, Any]:
    """One stream whose models say nothing for so long: how many keep-alives came, and how it ended."""
    silent = {"model": f"scripted:fast?first={idle_s:g}&gap=0&tokens=5"}
    raw, begun = b"", time.perf_counter()
    pings: list[float] = []
    async with asked(front, {"fast": silent, "slow": silent}) as read:
        while b"event: done" not in raw and (piece := await read()):
            raw += piece
            pings += [time.perf_counter()] * piece.count(b": ping\n")
    status = json.loads(raw.partition(b"event: done")[2].partition(b"data: ")[2].partition(b"\n")[0] or b"{}")
    between = [later - earlier for earlier, later in itertools.pairwise(pings)]
    return {
        "name": front.kind,
        "seconds": round(time.perf_counter() - begun, 1),
        "pings": len(pings),
        "longest_s": round(max(between, default=0.0), 2),
        "status": status.get("status", "cut"),
    }


async def idles(idle_s: float, home: Path) -> list[dict[str, Any]]:
    """Through all three proxies as they come, and past them, at the same time."""
    with server(home / "idle", 1, 1, idle_s) as port, contextlib.ExitStack() as stack:
        fronts = [Front("direct", port, home)]
        fronts += [stack.enter_context(fronting(Wish(kind, (port,)), home / f"idle-{kind}")) for kind in KINDS]
        return await asyncio.gather(*(idle(front, idle_s) for front in fronts))


async def run(only: str, idle_s: float, tell: Callable[[Result], None]) -> tuple[list[Result], list[dict[str, Any]]]:
    """Everything whose name has these words."""
    counters, loop, results = Counters(), asyncio.get_running_loop(), []
    wheel = Wheel(loop)
    upstream = await loop.create_server(lambda: Stream(wheel, counters), "127.0.0.1", 0)
    address = upstream.sockets[0].getsockname()[1]
    chosen = [variant for variant in VARIANTS if only in variant.name]
    with folder() as home, contextlib.ExitStack() as stack:
        if chosen:
            self_signed(home)
            ports = {grace: stack.enter_context(server(home / f"home{grace}", grace, address, 0)) for grace in GRACES}
        for variant in chosen:
            results.append(await measure(variant, ports, counters, home))
            tell(results[-1])
        silent = await idles(idle_s, home) if idle_s else []
    return results, silent


def show(results: list[Result], silent: list[dict[str, Any]]) -> Table:
    """The table for people."""
    table = Table(
        "proxy", "gap ms\nmedian", "\nmax", "direct\nmax", *[f"heard ms\n{name}" for name in HEARD], "verdict"
    )
    for result in results:
        spread = (statistics.median(result.gaps_ms), max(result.gaps_ms), max(result.direct_ms))
        times = [f"{ms:.0f}" if (ms := result.heard_ms[name]) is not None else "never" for name in HEARD]
        verdict = "good" if result.good else KNOWN if result.known else "missed"
        table.add_row(result.name, *(f"{ms:.0f}" for ms in spread), *times, verdict)
    for one in silent:
        said = f"{one['pings']} keep-alives, {one['longest_s']} s apart at most, {one['seconds']} s in all"
        table.add_row(f"{one['name']}, silent", *[""] * 7, f"{one['status']}: {said}")
    return table


HEARD: Final = [f"{name}, grace {grace}" for grace in GRACES for name in ("talking", "silent")]


def main(
    only: Annotated[str, typer.Option(help="Only what has this in its name, as in `nginx`; `idle`: none.")] = "",
    idle: Annotated[float, typer.Option(min=0, max=3000, help="Streams that are silent for so many seconds.")] = 0.0,
    out: Annotated[Path | None, typer.Option(help="Where to write everything as JSON.")] = None,
) -> None:
    """Measure streams through nginx, haproxy and caddy."""
    missing = [name for name in (*KINDS, "curl", "openssl") if shutil.which(name, path=search_path()) is None]
    if missing:
        raise typer.BadParameter(f"not installed: {', '.join(missing)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that our children are ended on the way out
    console = Console(width=150)

    def tell(result: Result) -> None:
        verdict = "good" if result.good else "missed"
        console.print(f"{result.name}: max gap {max(result.gaps_ms):.0f} ms, {result.heard_ms}: {verdict}")

    results, silent = asyncio.run(run(only, idle, tell))
    console.print(show(results, silent))
    if out is not None:
        out.write_text(json.dumps({"variants": [asdict(result) for result in results], "silent": silent}, indent=1))
    whole = all(result.good or result.known for result in results)
    raise typer.Exit(0 if whole and all(one["status"] == "completed" for one in silent) else 1)


if __name__ == "__main__":
    typer.run(main)
