"""Cloud SQL by socket, by private address and by connector, and tokens for passwords; Google's side is played here."""

import asyncio
import importlib.util
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import entries
import pytest
import pytest_asyncio
from cells import rows
from fake_google import INSTANCE, Google, google, saying, tls_before
from filing import do, filed, value
from pydantic import SecretStr
from servers import eventually, serving
from tails import ask

from app.errors import StartupError, TooManyExports
from app.postgres import cloud_sql, renewed
from app.postgres.embedded import EmbeddedPostgres
from app.postgres.fence import Fenced
from app.postgres.pool import Pool, translated
from app.postgres.renewed import Fresh, Renewed
from app.postgres.runs import RunStore
from app.postgres.way import Way
from app.record.store import StoreUnavailable
from app.settings import Settings
from app.wiring import database
from app.wiring.database import way_to

generate_keys = vars(cloud_sql)["generate_keys"]
USER = "run@proj.iam"
SECRET = "pass-word-9"
URL = "postgresql://run%40proj.iam.gserviceaccount.com@"


def settings(url: str | None, **more: Any) -> Settings:
    """Settings with a database."""
    return Settings(database_url=None if url is None else SecretStr(url), **more)


def way(url: str, **more: Any) -> Way:
    """The way that settings lead to."""
    found = way_to(settings(url, **more))
    assert found is not None
    return found


REFUSED = [
    (None, {"cloudsql_instance": INSTANCE}, "CLOUDSQL_INSTANCE.*DATABASE_URL"),
    (None, {"database_iam": True}, "DATABASE_IAM.*DATABASE_URL"),
    (f"postgresql://me:{SECRET}@db/x", {"cloudsql_instance": INSTANCE}, "CLOUDSQL_INSTANCE.*leave host"),
    (f"postgresql://me:{SECRET}@/x?host=/s", {"cloudsql_instance": INSTANCE}, "CLOUDSQL_INSTANCE.*leave host"),
    ("postgresql://me@/x?sslmode=require", {"cloudsql_instance": INSTANCE}, "CLOUDSQL_INSTANCE.*sslmode"),
    ("postgresql:///x", {"cloudsql_instance": INSTANCE}, "CLOUDSQL_INSTANCE.*names a user"),
    ("postgresql://me@", {"cloudsql_instance": INSTANCE}, "CLOUDSQL_INSTANCE.*a database"),
    (f"postgresql://me:{SECRET}@/x?host=/s", {"database_iam": True}, "DATABASE_IAM.*take the password out"),
    (f"postgresql://me@/x?host=/s&password={SECRET}", {"database_iam": True}, "DATABASE_IAM.*take the password out"),
    ("postgresql://10.1.2.3/x?sslmode=require", {"database_iam": True}, "DATABASE_IAM.*user"),
    ("postgresql://me@10.1.2.3/x", {"database_iam": True}, "DATABASE_IAM.*sslmode=require"),
    ("postgresql://me@10.1.2.3/x?sslmode=prefer", {"database_iam": True}, "DATABASE_IAM.*sslmode=require"),
]


@rows(("url", "more", "said"), REFUSED)
def test_contradictions_are_refused(url: str | None, more: dict[str, Any], said: str) -> None:
    """Settings that contradict each other are refused at the start; the message says which and what to do."""
    with pytest.raises(StartupError, match=said) as caught:
        way_to(settings(url, **more))
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(Way(f"postgresql://me:{SECRET}@db/x"))


@rows("instance", ["main", "proj:main", "a:b:c:d:e", "p:r:", "p r:x:y"])
def test_an_instance_has_three_names(instance: str) -> None:
    """CLOUDSQL_INSTANCE is project:region:instance, the project with a domain before it if it has one."""
    with pytest.raises(ValueError, match="cloudsql_instance"):
        settings("postgresql://me@/x", cloudsql_instance=instance)
    assert settings(None, cloudsql_instance="example.com:p:r:i").cloudsql_instance == "example.com:p:r:i"


@pytest.mark.parametrize("more", [{"cloudsql_instance": INSTANCE}, {"database_iam": True}])
def test_a_missing_library_is_named(more: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Google's library the message names the extra that brings it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    url = "postgresql://me@/x" if "cloudsql_instance" in more else "postgresql://me@/x?host=/s"
    with pytest.raises(StartupError, match=r"tandem\[cloudsql\]"):
        way_to(settings(url, **more))


# -- by socket, by address


def folder_of(dsn: str) -> Path:
    """The folder of the real socket."""
    return Path(parse_qs(urlsplit(dsn).query)["host"][0])


@pytest.fixture
def socket(dsn: str, open_folder: Path) -> str:
    """The query of an address for a socket in a folder that is named as Cloud Run names it."""
    folder = open_folder / INSTANCE
    folder.mkdir()
    (folder / ".s.PGSQL.5432").symlink_to(folder_of(dsn) / ".s.PGSQL.5432")
    return f"{urlsplit(dsn).path}?host={folder}"


async def test_by_socket(socket: str) -> None:
    """A socket in a folder with colons in its name is found, as on Cloud Run."""
    async with Pool(way(f"postgresql://tandem:x@{socket}")) as pool:
        assert await RunStore(pool).write(filed(entries.opening())) == ["stored"]


async def test_by_private_address(dsn: str, tmp_path: Path) -> None:
    """Over an address the connection is encrypted; an authority that did not sign it is refused where it is named."""
    async with google(tmp_path) as cloud:
        mine = cloud.authority.server(clients=False)
        async with tls_before(f"{folder_of(dsn)}/.s.PGSQL.5432", mine, direct=False) as port:
            url = f"postgresql://tandem@127.0.0.1:{port}{urlsplit(dsn).path}"
            async with Pool(way(f"{url}?sslmode=verify-ca&sslrootcert={cloud.authority.file}")) as pool:
                assert await RunStore(pool).write(filed(entries.opening())) == ["stored"]
                async with pool.connection() as connection:
                    assert connection._transport.get_extra_info("ssl_object").version() == "TLSv1.3"
            stranger = tmp_path / "stranger"
            stranger.mkdir()
            async with (
                google(stranger) as other,
                Pool(way(f"{url}?sslmode=verify-ca&sslrootcert={other.authority.file}")) as pool,
            ):
                with pytest.raises(StoreUnavailable):
                    await RunStore(pool).write(filed(entries.opening()))


# -- tokens


@pytest_asyncio.fixture
async def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Google]:
    """Google, with credentials for it in the environment."""
    async with google(tmp_path) as found:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(found.credentials(tmp_path)))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(renewed, "PAUSE_S", 0.05)
        monkeypatch.setattr(cloud_sql, "API", f"http://127.0.0.1:{found.port}")
        monkeypatch.setattr(cloud_sql, "generate_keys", same_keys)
        yield found


_same: list[tuple[bytes, str]] = []


async def same_keys() -> tuple[bytes, str]:
    """The library's keys, made once: each pair takes as long as a whole test."""
    if not _same:
        _same.append(await generate_keys())
    return _same[0]


@pytest_asyncio.fixture
async def let_in(postgres: EmbeddedPostgres, dsn: str) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """A user that PostgreSQL asks for a password, and how to change that."""
    rules = postgres.data / "pg_hba.conf"
    kept = rules.read_text()
    rules.write_text(f'local all "{USER}" password\n{kept}')
    await do(dsn, f'CREATE ROLE "{USER}" SUPERUSER LOGIN; SELECT pg_reload_conf()')

    async def change(password: str) -> None:
        """Give the user another password."""
        await do(dsn, f"ALTER ROLE \"{USER}\" PASSWORD '{password}'")

    await change("token-1")
    yield change
    rules.write_text(kept)
    await do(dsn, f'SELECT pg_reload_conf(); REASSIGN OWNED BY "{USER}" TO tandem; DROP ROLE "{USER}"')


async def test_a_token_is_the_password(
    cloud: Google, let_in: object, socket: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With DATABASE_IAM a token of the service's account logs in, fetched once for all connections, told to nobody."""
    caplog.set_level("DEBUG")
    async with Pool(way(URL + socket, database_iam=True)) as pool:
        await asyncio.gather(*(RunStore(pool).write(filed(entries.opening(n))) for n in range(8)))
        async with pool.connection() as connection:
            assert await connection.fetchval("SELECT session_user") == USER
    assert cloud.count("/token") == 1
    assert "token-1" not in caplog.text


async def test_a_token_that_is_taken_no_longer(
    cloud: Google, let_in: Callable[[str], Awaitable[None]], socket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that PostgreSQL refuses is replaced behind the next attempts, long before it ends."""
    monkeypatch.setattr(renewed, "DOUBT_S", 0.0)
    async with Pool(way(URL + socket, database_iam=True), 1) as pool:
        await RunStore(pool).write(filed(entries.opening(1)))
        cloud.token = "token-2"
        await let_in("token-2")
        async with pool.connection() as connection:
            connection.terminate()
        await asyncio.sleep(0)
        await until_written(pool)
    assert cloud.count("/token") >= 2


async def until_written(pool: Pool, within_s: float = 5.0) -> None:
    """Write until it is stored."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                await RunStore(pool).write(filed(entries.opening(99)))
            except StoreUnavailable:
                await asyncio.sleep(0.02)
                continue
            return


async def test_no_token(cloud: Google, let_in: object, socket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Google refusing or hanging is an unavailable database within the bound, and heals; the loop is never held."""
    monkeypatch.setattr(renewed, "ABANDONED_S", 0.2)
    to = way(URL + socket, database_iam=True)
    assert to.token is not None
    to.token._wait_s = 0.1
    async with Pool(to) as pool:
        for ill in ({"status": 400}, {"hang": True}):
            for name, what in ill.items():
                setattr(cloud, name, what)
            writing = asyncio.create_task(RunStore(pool).write(filed(entries.opening(1))))
            turns = 0
            while not writing.done():
                await asyncio.sleep(0)
                turns += 1
            with pytest.raises(StoreUnavailable, match=r"Google gives no token|did not come"):
                await writing
            # a loop that is held turns but a few times; so does one that need not wait for a refusal
            assert turns > 20 or not cloud.hang
            cloud.status = 200
        cloud.hang = False
        await until_written(pool)


async def test_streams_without_a_token(
    cloud: Google,
    let_in: Callable[[str], Awaitable[None]],
    socket: str,
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While no token lets the server in a stream ends as ever; its record waits, and is stored when one does again."""
    tokens: list[Renewed[str]] = []

    def kept(what: str, fetch: Callable[[], Fresh[str]]) -> Renewed[str]:
        """As ever, and known here: only what comes after the start is to be waited for but briefly."""
        tokens.append(Renewed(what, fetch))
        return tokens[-1]

    monkeypatch.setattr(renewed, "DOUBT_S", 0.0)
    monkeypatch.setattr(database, "Renewed", kept)
    async with serving(dsn=URL + socket, database_iam=True) as server:
        tokens[0]._wait_s = 0.1
        monkeypatch.setattr(renewed, "ABANDONED_S", 0.2)
        cloud.hang, cloud.token = True, "token-2"
        await let_in("token-2")
        await do(dsn, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'")
        began = time.monotonic()
        text = (await ask(server)).text
        assert '"status":"completed"' in text
        assert time.monotonic() - began < 5.0
        assert await value(dsn, "SELECT count(*) FROM runs") == 0
        cloud.hang = False
        await until(dsn, "SELECT count(*) FROM runs WHERE status = 'completed'", 1)


async def until(dsn: str, sql: str, expected: int, within_s: float = 10.0) -> None:
    """Ask PostgreSQL until it says that."""
    async with asyncio.timeout(within_s):
        while await value(dsn, sql) != expected:  # noqa: ASYNC110  # what is waited for is told by nobody
            await asyncio.sleep(0.02)


# -- the connector


@pytest_asyncio.fixture
async def instance(cloud: Google, dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The address for a database of an instance that lets in whoever has a certificate of its own."""
    mine = cloud.authority.server(clients=True)
    async with tls_before(f"{folder_of(dsn)}/.s.PGSQL.5432", mine, direct=True) as port:
        monkeypatch.setattr(cloud_sql, "PORT", port)
        yield f"postgresql://tandem@{urlsplit(dsn).path}"


async def door_to(url: str, **more: Any) -> Way:
    """The way through the connector, its certificate fetched however long that takes on a busy machine."""
    to = way(url, cloudsql_instance=INSTANCE, **more)
    assert to.door is not None
    to.door._wait_s = 30.0
    await to.door.get()
    return to


@pytest.mark.parametrize("iam", [False, True])
async def test_by_connector(cloud: Google, instance: str, iam: bool) -> None:
    """The connector's certificate opens the instance, one for all connections; with IAM it carries the login token."""
    to = await door_to(instance, database_iam=iam)
    async with Pool(to, 4) as pool:
        await asyncio.gather(*(RunStore(pool).write(filed(entries.opening(n))) for n in range(8)))
        async with pool.connection() as connection:
            assert isinstance(connection._protocol, Fenced)
            assert connection._transport.get_extra_info("ssl_object").version() == "TLSv1.3"
    asked = [body for path, body in cloud.asked if "generateephemeralcert" in path]
    assert len(asked) == 1
    assert ("access_token" in asked[0]) == iam


async def test_the_certificate_outlives_the_api(cloud: Google, instance: str) -> None:
    """While the Admin API is away new connections are opened with the certificate that is there."""
    async with Pool(await door_to(instance), 2) as pool:
        await RunStore(pool).write(filed(entries.opening(1)))
        cloud.status = 503
        async with pool.connection() as one, pool.connection() as two:
            assert one is not two


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": 403}, "Google gives no token|roles/cloudsql.client"),
        ({"addresses": [{"type": "PRIMARY", "ipAddress": "127.0.0.1"}]}, "CLOUDSQL_IP_TYPE"),
    ],
)
async def test_no_way_in(cloud: Google, instance: str, change: dict[str, Any], said: str) -> None:
    """What keeps the connector out is an unavailable database and says what to do."""
    for name, what in change.items():
        setattr(cloud, name, what)
    async with Pool(way(instance, cloudsql_instance=INSTANCE)) as pool:
        with pytest.raises(StoreUnavailable, match=said):
            await RunStore(pool).write(filed(entries.opening(1)))


async def test_no_credentials(socket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials the database is unavailable, and the message says what to run."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    async with Pool(way(URL + socket, database_iam=True)) as pool:
        with pytest.raises(StoreUnavailable, match="gcloud auth application-default login"):
            await RunStore(pool).write(filed(entries.opening(1)))


async def test_cut_connections(cloud: Google, instance: str, dsn: str) -> None:
    """Connections that the instance ends, as when it restarts, are opened again; nobody asks Google for that."""
    async with Pool(await door_to(instance), 2) as pool:
        await RunStore(pool).write(filed(entries.opening(1)))
        await do(
            dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        await until_written(pool)
    assert cloud.count("generateephemeralcert") == 1


@pytest.mark.parametrize("reply", [b"", b"\xff" * 99])
async def test_an_ill_instance(cloud: Google, reply: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance that says nothing behind its TLS, or noise, ends the attempt within its bound."""
    async with saying(reply, cloud.authority.server(clients=True)) as port:
        monkeypatch.setattr(cloud_sql, "PORT", port)
        to = await door_to("postgresql://tandem@/x")
        began = time.monotonic()
        with pytest.raises(StoreUnavailable), translated():
            await to.connect(timeout=0.3)
        assert time.monotonic() - began < 1.0


async def test_a_statement_over_its_time(cloud: Google, instance: str) -> None:
    """A statement that takes too long through the connector ends at its bound, and the pool goes on."""
    async with Pool(await door_to(instance), 1) as pool:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            async with pool.connection() as connection:
                await connection.execute("SELECT pg_sleep(30)", timeout=0.2)
        await until_written(pool)
        assert time.monotonic() - began < 3.0


# -- what expires


class Source:
    """Values one after another, each good for so many seconds."""

    def __init__(self, lasts_s: float) -> None:
        self.now, self.calls, self.lasts_s = 1000.0, 0, lasts_s
        self.error: Exception | None = None

    def __call__(self) -> Fresh[int]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return Fresh(self.calls, self.now + self.lasts_s)


async def test_renewed_ahead_of_its_end() -> None:
    """A value is fetched anew before it ends while the old one is used, and waited for once it has ended."""
    source = Source(3600)
    kept = Renewed("x", source, clock=lambda: source.now)
    assert [await kept.get() for _ in range(3)] == [1, 1, 1]
    source.now += 3600 - 100
    assert await kept.get() == 1
    async with asyncio.timeout(5):
        while await kept.get() == 1:  # noqa: ASYNC110  # the thread is at work
            await asyncio.sleep(0.002)
    assert (await kept.get(), source.calls) == (2, 2)
    source.now += 3601
    assert await kept.get() == 3


async def test_a_value_that_ends_soon_is_no_storm() -> None:
    """A source that has only what ends soon is asked once a second at most, however many ask."""
    source = Source(renewed.AHEAD_S - 1)
    kept = Renewed("x", source, clock=lambda: source.now)
    for _ in range(20):
        await kept.get()
        await asyncio.sleep(0.001)
    assert source.calls == 1
    source.now += renewed.PAUSE_S
    await kept.get()
    await eventually(lambda: source.calls == 2)


@pytest.mark.parametrize("step_s", [renewed.PAUSE_S, -3600.0], ids=["later", "clock set back"])
async def test_an_error_is_told_and_tried_again(step_s: float) -> None:
    """A library's error becomes StoreUnavailable without its words; who asks a second later tries again."""
    source = Source(3600)
    source.error = RuntimeError(SECRET)
    kept = Renewed("the token", source, clock=lambda: source.now)
    with pytest.raises(StoreUnavailable, match="the token cannot be had: RuntimeError") as caught:
        await kept.get()
    assert SECRET not in caught.value.message
    source.error = None
    with pytest.raises(StoreUnavailable, match="RuntimeError"):
        await kept.get()
    source.now += step_s
    assert await kept.get() == 2


# -- how many connections


async def test_connections_of_one_instance(dsn: str) -> None:
    """An instance has at most DATABASE_POOL_SIZE + 7 connections: a writer, two of the cache, four for exports."""
    name = urlsplit(dsn).path.strip("/")
    count = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND application_name LIKE 'tandem%'"
    async with serving(dsn=dsn, database_pool_size=3, cache=True, cache_postgres_timeout_s=5) as server:
        await ask(server)
        blocker = await asyncpg.connect(dsn)
        await blocker.execute("BEGIN; LOCK TABLE runs, answers, rollups, rollup_dirty, instances")
        asked = [
            asyncio.create_task(work)
            for n in range(6)
            for work in (
                ask(server, input=f"Why {n}?"),
                server.client.get("/api/experiments"),
                server.client.get("/api/experiments/export", params={"format": "jsonl"}),
            )
        ]
        await until(dsn, count, 3 + 7)
        for _ in range(5):
            await asyncio.sleep(0.01)
            assert await value(dsn, count) <= 3 + 7
        await blocker.close()
        answers = await asyncio.gather(*asked)
    assert sorted(answer.status_code for answer in answers) == [200] * 16 + [TooManyExports.status] * 2
