"""Entries as bytes: one format byte, then MessagePack; and what can be done to an entry that somebody will not take."""

import hashlib
import math
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from app.errors import TandemError
from app.events import clean
from app.question import Labels
from app.record.entry import Attachment, Closing, ContentNote, Entry, Interruption, LaneRecord, Opening

FORMAT: Final = b"\x01"
CUT_CHARS: Final = 100_000  # of a text in an entry that the store rejected
CUT_LOG_BYTES: Final = 8 * 1024 * 1024

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class Undecodable(TandemError):
    """These bytes are no entry of a format that this version knows."""

    code = "undecodable"


def encode(entry: Entry) -> bytes:
    """The bytes of an entry; equal entries give equal bytes. Raises ValueError or OverflowError for what has none."""
    return FORMAT + _encode(entry)


def decode(data: bytes) -> Entry:
    """The entry of these bytes; raises Undecodable."""
    if not data.startswith(FORMAT):
        raise Undecodable(f"the format {data[:1].hex() or 'of nothing'} is not known")
    try:
        entry: Entry = _decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, ValueError) as error:
        raise Undecodable(f"no entry: {error}") from error
    return entry


def digest(data: bytes) -> bytes:
    """SHA-256 of an encoded entry: its content hash."""
    return hashlib.sha256(data).digest()


def stripped(entry: Entry) -> Entry:
    """The entry without what was asked and said; its content note says that the payload was cut."""
    if isinstance(entry, Opening):
        messages = tuple(replace(message, content="") for message in entry.question.messages)
        bare = replace(entry.question, messages=messages)
        return replace(entry, question=bare, content=_noted(entry.content, "payload"))
    if isinstance(entry, Attachment):
        return entry
    opening = stripped(entry.opening)
    if isinstance(entry, Interruption):
        return replace(entry, opening=opening)
    lanes = {name: _silent(record) for name, record in entry.lanes.items()}
    return replace(entry, opening=opening, lanes=lanes, log=b"", at_ms=(), content=_noted(entry.content, "payload"))


def unlabelled(entry: Entry) -> Entry:
    """A stripped entry without its labels too: the last words of a client's that it had."""
    if isinstance(entry, Opening):
        return replace(entry, question=replace(entry.question, labels=Labels()))
    if isinstance(entry, Attachment):
        return replace(entry, labels=Labels())
    return replace(entry, opening=unlabelled(entry.opening))


def cleaned(entry: Entry) -> Entry:
    """The entry as any store can take it: clean strings, finite numbers, texts cut; equal for equal entries.

    A number that is none, or beyond 64 bits, becomes None, and 0 where the record has no None
    for it; the content note names what was cut.
    """
    cut: list[str] = []
    before = msgspec.to_builtins(entry, builtin_types=(bytes, datetime))
    plain = _plain(before, "", cut)
    try:
        done: Entry = msgspec.convert(plain, Entry)
    except msgspec.ValidationError:
        done = msgspec.convert(_without_none(plain, before), Entry)
    if isinstance(done, Closing) and len(done.log) > CUT_LOG_BYTES:
        done = replace(done, log=b"", at_ms=())
        cut.append("log")
    if not cut or isinstance(done, Interruption | Attachment):
        return done
    return replace(done, content=_noted(done.content, *cut))


def _noted(note: ContentNote, *cut: str) -> ContentNote:
    """The note with more that was cut, each once."""
    return replace(note, cut=tuple(dict.fromkeys((*note.cut, *cut))))


def _silent(record: LaneRecord) -> LaneRecord:
    """A lane's numbers without its words; what an upstream said of an error may quote the question."""
    return replace(record, text="", thinking="", end=replace(record.end, message=None))


def _plain(value: Any, path: str, cut: list[str]) -> Any:  # noqa: ANN401  # the value of an entry, however deep
    """The value without anything that a store may choke on; cut gets the path of what lost something."""
    if isinstance(value, str):
        if len(value) > CUT_CHARS:
            cut.append(path)
        return clean(value[:CUT_CHARS])
    if isinstance(value, float | int) and not (math.isfinite(value) and -(2**63) <= value < 2**63):
        cut.append(path)
        return None
    if isinstance(value, dict):
        return {clean(key): _plain(item, f"{path}.{key}".lstrip("."), cut) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}.{at}", cut) for at, item in enumerate(value)]
    return value


def _without_none(value: Any, before: Any) -> Any:  # noqa: ANN401  # as above
    """The value with 0 for each None that was a number before."""
    if value is None and before is not None:
        return 0
    if isinstance(value, dict):
        return {key: _without_none(item, old) for (key, item), old in zip(value.items(), before.values(), strict=True)}
    if isinstance(value, list):
        return [_without_none(item, old) for item, old in zip(value, before, strict=True)]
    return value
