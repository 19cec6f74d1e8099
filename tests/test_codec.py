"""Entries as bytes, and what is done to one that somebody will not take."""

import math
from datetime import UTC, datetime
from typing import Any

import entries
import pytest
from cells import rows
from memory_store import MemoryStore
from msgspec.structs import replace

from app.record import codec
from app.record.entry import CLOSED, Entry, Interruption
from app.record.store import EntryRejected, Filed

START = entries.opening()
ALL: list[Entry] = [
    START, entries.closing(START), Interruption(START, datetime(2026, 1, 2, tzinfo=UTC)), entries.attachment(START),
]  # fmt: skip

POISON: dict[str, dict[str, Any]] = {
    "NUL": {"reason": "a\x00b"},
    "lone surrogate": {"reason": "a\ud800b"},
    "NaN where None is allowed": {"latency_ms": math.nan},
    "infinity where None is not allowed": {"lanes": {"fast": entries.lane("fast", latency_ms=math.inf)}},
    "more than 64 bits": {"cost_nano": 2**70},
    "ten megabytes": {"lanes": {"slow": entries.lane("slow", text="x" * 10_000_000)}},
}


@rows("entry", ALL)
def test_an_entry_comes_back_from_its_bytes(entry: Entry) -> None:
    """Every kind of entry is the same after encoding and decoding, and its bytes begin with their format."""
    data = codec.encode(entry)
    assert data[:1] == codec.FORMAT
    assert codec.decode(data) == entry
    assert codec.digest(codec.encode(codec.decode(data))) == codec.digest(data)


@rows("data", [b"", b"\x07abc", codec.FORMAT, codec.FORMAT + b"\xc1", codec.encode(START)[:-9]])
def test_bytes_that_are_no_entry_are_told(data: bytes) -> None:
    """Bytes of another format, damaged or cut ones raise Undecodable and nothing else."""
    with pytest.raises(codec.Undecodable):
        codec.decode(data)


@rows("kind", POISON)
async def test_a_cleaned_entry_can_be_stored(kind: str) -> None:
    """What a store rejects it takes once cleaned; cleaning is repeatable and says what it cut."""
    poison = entries.closing(START, **POISON[kind])
    if kind != "more than 64 bits":
        with pytest.raises(EntryRejected):
            await MemoryStore().write([Filed(poison, b"")])
    clean = codec.cleaned(poison)
    assert codec.encode(clean) == codec.encode(codec.cleaned(poison))
    assert await MemoryStore().write([Filed(clean, codec.digest(codec.encode(clean)))]) == ["stored"]
    assert isinstance(clean, type(poison))
    assert bool(clean.content.cut) == ("NUL" not in kind and "surrogate" not in kind)


def test_a_clean_entry_is_not_changed_by_cleaning() -> None:
    """An entry without poison is equal to its cleaned self."""
    assert [codec.cleaned(entry) for entry in ALL] == ALL


def test_a_stripped_entry_has_numbers_and_no_words() -> None:
    """Without its payload an entry keeps who, when, how long and how much, and says that the payload was cut."""
    secret = entries.opening(question=entries.question("a secret"))
    lanes = {"fast": entries.lane("fast", text="a secret", message="secret")}
    closing = entries.closing(secret, lanes=lanes, log=b"a secret")
    bare = codec.stripped(closing)
    assert b"secret" not in codec.encode(bare)
    start = entries.opening_of(bare)
    assert (bare.version, start.run_id, start.question.fast) == (
        CLOSED, secret.run_id, secret.question.fast,
    )  # fmt: skip
    assert start.content.cut == ("payload",)
    assert codec.stripped(bare) == bare
    assert entries.opening_of(codec.stripped(Interruption(secret, secret.created_at))) == start
    assert replace(bare, content=closing.content) != closing
