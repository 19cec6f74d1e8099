"""Everything that a server leaves behind, as bytes to be searched: a database with all it packs, a folder of files."""

import contextlib
import re
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

PACKED = re.compile(rb"x[\x01\x5e\x9c\xda]")  # how what zlib made begins, anywhere in a value


async def database(dsn: str) -> bytes:
    """Every value of every row of every table."""
    connection = await asyncpg.connect(dsn)
    try:
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        found = []
        for (name,) in names:
            for row in await connection.fetch(f'SELECT * FROM "{name}"'):
                found += [part for value in row.values() for part in unpacked(value)]
        return b"\n".join(found)
    finally:
        await connection.close()


def folder(path: Path) -> bytes:
    """Every byte of every file, and every value of the SQLite files among them, which somebody may be writing."""
    found = []
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(path, Path(place) / "copy"))
        files = sorted(one for one in copy.rglob("*") if one.is_file())
        found += [file.read_bytes() for file in files]
        for file in files:
            if file.suffix == ".sqlite":
                found += _values(file)
    return b"\n".join(found)


def _values(file: Path) -> list[bytes]:
    with contextlib.closing(sqlite3.connect(file)) as tables:
        names = tables.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        rows = [row for (name,) in names for row in tables.execute(f'SELECT * FROM "{name}"')]
    return [part for row in rows for value in row for part in unpacked(value)]


def unpacked(value: Any) -> Iterator[bytes]:
    """A value as bytes, and what is compressed in it."""
    if not isinstance(value, bytes):
        yield str(value).encode()
        return
    yield value
    for match in PACKED.finditer(value):
        with contextlib.suppress(zlib.error):
            yield zlib.decompressobj().decompress(value[match.start() :])
