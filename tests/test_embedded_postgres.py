"""The embedded server: real processes, killed and started again."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from databases import short_folder

from app.errors import StartupError
from app.postgres import home as home_module
from app.postgres.binaries import INSTALL, PACKAGE, programs, wheel_programs, wheel_root
from app.postgres.embedded import EmbeddedPostgres, psql_command
from app.postgres.home import Account, HomeLock, account, closed_to

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """One home for the tests of this file: making its data takes most of the time."""
    with short_folder() as folder:
        yield folder / "home"


async def ask(server: EmbeddedPostgres, question: str) -> object:
    """The answer of the server to one query."""
    connection = await asyncpg.connect(server.dsn, timeout=5)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def modes(*paths: Path) -> dict[Path, int]:
    """The modes of every folder on the way to these paths."""
    return {folder: stat.S_IMODE(folder.stat().st_mode) for path in paths for folder in path.resolve().parents}


def dead(pid: int) -> bool:
    """Whether a process is gone, or waits only for its parent to notice."""
    try:
        os.kill(pid, 0)
        return sys.platform == "linux" and "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return True


def environment_of(pid: int | None) -> str:
    """The environment of a process, where the system shows it."""
    file = Path(f"/proc/{pid}/environ")
    return file.read_text() if file.exists() else ""


def start_owner(script: str, home: Path) -> subprocess.Popen[bytes]:
    """Another process of ours that runs a script with the home as its argument."""
    command = [sys.executable, "-c", textwrap.dedent(script), str(home)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent)


async def until_dead(pid: int) -> None:
    """Wait for the end of a process that is not ours."""
    async with asyncio.timeout(5):
        while not dead(pid):  # noqa: ASYNC110  # another process sets no event of ours
            await asyncio.sleep(0.01)


async def test_data_stay_between_starts(home: Path) -> None:
    """What was written is there after a stop and a start, and nobody runs after the stop."""
    async with EmbeddedPostgres(home) as server:
        await ask(server, "CREATE TABLE kept AS SELECT 7 AS number")
        pid = server.pid
    assert pid is not None
    assert dead(pid)
    async with EmbeddedPostgres(home) as server:
        assert await ask(server, "SELECT number FROM kept") == 7


async def test_it_is_private_and_changes_no_mode(home: Path) -> None:
    """It listens on no network, its folders are closed to others, and no folder above changes its mode."""
    before = modes(home, wheel_programs())
    async with EmbeddedPostgres(home) as server:
        assert await ask(server, "SHOW listen_addresses") == ""
        assert await ask(server, "SHOW fsync") == "on"
        assert modes(home, wheel_programs()) == before
        for private in (server.data, home / "socket"):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700
            assert private.stat().st_uid == account().uid != 0


async def test_the_environment_does_not_reach_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our environment, which holds keys, and foreign PG variables do not reach the server."""
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-ours")
    monkeypatch.setenv("PGPORT", "1")
    async with EmbeddedPostgres(home) as server:
        assert "secret-of-ours" not in environment_of(server.pid)
        assert await ask(server, "SHOW port") == "5432"


async def test_ctrl_c_in_the_terminal_does_not_reach_it(home: Path) -> None:
    """The server is in a session of its own, so that a terminal's signals reach only us."""
    async with EmbeddedPostgres(home) as server:
        assert server.pid is not None
        assert os.getsid(server.pid) == server.pid != os.getsid(0)


async def test_a_second_server_on_the_same_home_is_refused(home: Path) -> None:
    """A second server is refused with the setting's name and the pid of the first, which goes on."""
    async with EmbeddedPostgres(home) as server:
        with pytest.raises(StartupError, match=rf"pid {os.getpid()}\) uses TANDEM_HOME"):
            await EmbeddedPostgres(home).start()
        assert await ask(server, "SELECT 1") == 1


async def test_it_is_started_again_when_it_is_killed(home: Path) -> None:
    """A server that is killed while we live is back soon, with what was committed."""
    async with EmbeddedPostgres(home) as server:
        assert server.pid is not None
        await ask(server, "DROP TABLE IF EXISTS safe")
        await ask(server, "CREATE TABLE safe AS SELECT 8 AS number")
        killed = server.pid
        os.kill(killed, signal.SIGKILL)
        async with asyncio.timeout(10):
            while server.pid in (None, killed):  # noqa: ASYNC110  # the server's own watcher polls as well
                await asyncio.sleep(0.02)
            assert await _until_answered(server, "SELECT number FROM safe") == 8


async def _until_answered(server: EmbeddedPostgres, question: str) -> object:
    """Ask until the server takes connections."""
    while True:
        try:
            return await ask(server, question)
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0.02)


async def _killed_owner(home: Path) -> int:
    """Start a server from another process of ours, kill that process, and return the orphan's pid."""
    script = """
        import asyncio, sys
        from pathlib import Path
        from app.postgres.embedded import EmbeddedPostgres

        async def main():
            server = EmbeddedPostgres(Path(sys.argv[1]))
            await server.start()
            print(server.pid, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """
    owner = start_owner(script, home)
    assert owner.stdout is not None
    orphan = int(await asyncio.to_thread(owner.stdout.readline))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    return orphan


async def test_the_server_of_a_killed_process_is_replaced(home: Path) -> None:
    """After kill -9 of us the orphaned server is stopped and a new one started on its data."""
    orphan = await _killed_owner(home)
    async with EmbeddedPostgres(home) as server:
        assert server.pid != orphan
        assert await ask(server, "SELECT 1") == 1
        await until_dead(orphan)


async def test_a_pid_that_belongs_to_a_stranger_by_now_is_left_alone(home: Path) -> None:
    """After kill -9 of both, a stale pid file that names a living stranger neither stops the start nor the stranger."""
    orphan = await _killed_owner(home)
    os.kill(orphan, signal.SIGKILL)
    await until_dead(orphan)
    with start_owner("import time; time.sleep(60)", home) as stranger:
        pid_file = home / "postgres" / "postmaster.pid"
        pid_file.write_text(pid_file.read_text().replace(str(orphan), str(stranger.pid), 1))
        async with EmbeddedPostgres(home) as server:
            assert await ask(server, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


async def test_a_deep_home_gets_a_short_socket(open_folder: Path) -> None:
    """A home whose path is too long for a socket gets a private folder in /tmp, which is gone after the stop."""
    deep = open_folder / ("d" * 100)
    async with EmbeddedPostgres(deep) as server:
        socket = str(await ask(server, "SHOW unix_socket_directories"))
        assert socket.startswith("/tmp/tandem-")
        assert stat.S_IMODE(os.stat(socket).st_mode) == 0o700
        assert psql_command(deep, [])[2] == socket
    with pytest.raises(FileNotFoundError):
        os.stat(socket)


async def test_psql_opens_the_running_server(home: Path) -> None:
    """The psql entry runs the wheel's own psql on the running server, and says clearly when none runs."""
    command = [sys.executable, "-m", "app.postgres.embedded", "--home", str(home), "psql", "-Atc", "SELECT 42"]
    root = Path(__file__).parent.parent
    async with EmbeddedPostgres(home):
        done = await asyncio.to_thread(subprocess.run, command, cwd=root, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    with pytest.raises(StartupError, match="no embedded PostgreSQL runs on TANDEM_HOME"):
        psql_command(home, [])


async def test_a_start_that_fails_shows_the_servers_reason(home: Path) -> None:
    """A server that cannot start says why, in its own words, and lets go of the home."""
    with pytest.raises(StartupError, match=r"TANDEM_HOME .* did not start: .*shared_buffers"):
        await EmbeddedPostgres(home, {"shared_buffers": "much"}).start()
    async with EmbeddedPostgres(home) as server:
        assert await ask(server, "SELECT 1") == 1


async def test_a_stop_never_takes_long(home: Path) -> None:
    """A stop is bounded, open transactions and all."""
    async with EmbeddedPostgres(home) as server:
        connection = await asyncpg.connect(server.dsn)
        await connection.execute("BEGIN; SELECT 1")
        began = time.monotonic()
    assert time.monotonic() - began < 3
    connection.terminate()


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    """A lock file that a killed process left behind stops nobody."""
    (tmp_path / "lock").write_text("1\n")
    lock = HomeLock(tmp_path)
    lock.acquire()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_folder_that_others_may_not_enter_is_found(open_folder: Path) -> None:
    """The first closed folder on the way is named; an open way has none."""
    inner = open_folder / "closed" / "inner"
    inner.mkdir(parents=True)
    stranger = Account(uid=54321, gid=54321)
    open_folder.chmod(0o711)
    inner.parent.chmod(0o700)
    assert closed_to(stranger, inner) == inner.parent.resolve()
    inner.parent.chmod(0o711)
    assert closed_to(stranger, inner) is None


async def test_a_home_that_cannot_be_made_is_refused() -> None:
    """A home at a place where no folder can be is refused by the name of its setting."""
    with pytest.raises(StartupError, match="TANDEM_HOME"):
        async with EmbeddedPostgres(Path("/dev/null/home")):
            pass


@as_root
async def test_a_home_below_a_private_folder_is_refused(open_folder: Path) -> None:
    """As root, a home below a folder that the system user may not enter is refused, and the folder stays closed."""
    (open_folder / "private").mkdir(mode=0o700)
    with pytest.raises(StartupError, match=r"TANDEM_HOME is .* may not enter .*private"):
        await EmbeddedPostgres(open_folder / "private" / "home").start()
    assert stat.S_IMODE((open_folder / "private").stat().st_mode) == 0o700


@as_root
def test_programs_out_of_reach_are_copied_once(open_folder: Path) -> None:
    """As root, programs below a private folder are copied to the home once, run there, and nothing else is opened."""
    private = open_folder / "private"
    (private / PACKAGE).mkdir(parents=True)
    for part in (f"{PACKAGE}/{INSTALL}", f"{PACKAGE}.libs"):
        shutil.copytree(wheel_root() / part, private / part)
    private.chmod(0o700)
    copy = programs(open_folder, account(), private)
    assert copy.is_relative_to(open_folder / "pgsql-0.6.0")
    made = copy.stat().st_ino
    assert programs(open_folder, account(), private).stat().st_ino == made
    done = subprocess.run([copy / "initdb", "--version"], capture_output=True, check=True, **account().switch)
    assert done.stdout.startswith(b"initdb (PostgreSQL) 18")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_without_the_wheel_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel the message names DATABASE_URL and the extra that brings it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(StartupError, match=r"DATABASE_URL.*tandem\[laptop\]"):
        wheel_root()


def test_root_without_a_system_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As root without the system user and without the means to make it, the message says what to do."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(home_module, "SYSTEM_USER", "nobody-has-this-name")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(StartupError, match="no system user 'nobody-has-this-name'"):
        account()
