"""A real PgBouncer before the embedded PostgreSQL, lending its servers by the transaction."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from databases import short_folder

from app.postgres.embedded import EmbeddedPostgres
from app.postgres.home import account
from bench.servers import free_port

READY_S = 10.0
SERVERS = 2  # that it opens for a database, so that whoever comes gets now the one and now the other

CONFIG = """
[databases]
* = host={host} port=5432 user=tandem
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
server_round_robin = 1
default_pool_size = {servers}
max_client_conn = 200
"""


def through(pooler_port: int, dsn: str) -> str:
    """The address of the same database through the pooler."""
    return f"postgresql://tandem@127.0.0.1:{pooler_port}{urlsplit(dsn).path}?sslmode=disable"


@contextlib.contextmanager
def pgbouncer(folder: Path, dsn: str) -> Iterator[int]:
    """The port of a PgBouncer before the server of an address; it serves all of its databases."""
    who, port = account(), free_port()
    config = folder / "pgbouncer.ini"
    config.write_text(CONFIG.format(host=parse_qs(urlsplit(dsn).query)["host"][0], port=port, servers=SERVERS))
    program = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
    assert program is not None
    child = subprocess.Popen(
        [program, "-q", config],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **who.switch,
    )
    try:
        deadline = time.monotonic() + READY_S
        while not _answers(port):
            if child.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"pgbouncer did not start; exit code {child.poll()}")
            time.sleep(0.01)
        yield port
    finally:
        child.kill()
        child.wait()


def _answers(port: int) -> bool:
    """Whether somebody listens."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


@pytest.fixture(scope="session")
def pooler_port(postgres: EmbeddedPostgres) -> Iterator[int]:
    """The PgBouncer of this pytest process; without the program the test is skipped, but never on CI."""
    if shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("pgbouncer is not installed")
        pytest.skip("pgbouncer is not installed")
    with short_folder() as folder, pgbouncer(folder, postgres.dsn) as port:
        yield port


@pytest.fixture
def pooled(pooler_port: int, dsn: str) -> str:
    """The address of a fresh, migrated database through the pooler."""
    return through(pooler_port, dsn)
