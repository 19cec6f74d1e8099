"""Recorded pairs of answers as finished runs: JSON Lines in, closings and what is known of their correctness out.

A line has `question` (a text), `fast_text` and `slow_text`; it may have `fast_correct` and `slow_correct` (booleans),
`fast_model` and `slow_model`, `fast_latency_ms`, `slow_latency_ms`, `fast_ttft_ms`, `slow_ttft_ms`, `class`, `variant`
and `created_at`. Anything else is refused. The same line gives the same run again, so that importing a file twice, or a
file that has grown, adds nothing twice.
"""

import gzip
import hashlib
import math
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec

from app.agreement import compare
from app.errors import TandemError
from app.events import Agreement, Change, LaneEnd, Usage, clean
from app.question import Caller, Labels, LaneAsk, LaneName, Message, Question, scope_of
from app.record.entry import Closing, LaneRecord, Opening

LINE_BYTES_MAX: Final = 16 * 1024 * 1024
INSTANCE: Final = "import"
EPOCH: Final = datetime.fromtimestamp(0, UTC)
UNKNOWN_MODEL: Final = "unknown"
_DAY_MS: Final = 24 * 60 * 60 * 1000
_GZIP: Final = b"\x1f\x8b"
_CHANGES: Final[dict[str, Change]] = {"agree": "confirmed", "disagree": "revised", "unknown": "undetermined"}

_Text = Annotated[str, msgspec.Meta(pattern=r"\S")]
_Label = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Model = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
_Ms = Annotated[float, msgspec.Meta(ge=0, le=1e10)]  # sums of more, in microseconds, leave 64 bits


class ImportRefused(TandemError):
    """A line is not as it should be; the message begins with its number."""

    code = "import_refused"


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"prompt_class": "class"}):
    """One recorded pair of answers."""

    question: _Text
    fast_text: _Text
    slow_text: _Text
    fast_correct: bool | None = None
    slow_correct: bool | None = None
    fast_model: _Model = UNKNOWN_MODEL
    slow_model: _Model = UNKNOWN_MODEL
    fast_latency_ms: _Ms | None = None
    slow_latency_ms: _Ms | None = None
    fast_ttft_ms: _Ms | None = None
    slow_ttft_ms: _Ms | None = None
    prompt_class: _Label | None = None
    variant: _Label | None = None
    created_at: datetime | None = None


class Imported(NamedTuple):
    """One run and its feedback by name."""

    closing: Closing
    feedback: dict[str, bool]


@dataclass(frozen=True, slots=True)
class Import:
    """Whose runs these become and of which experiment; a line without created_at is put into the day after `at`.

    oldest: what was made before is not kept.
    """

    caller: Caller
    experiment: str
    at: datetime
    oldest: datetime = EPOCH


def read_file(path: Path, wanted: Import) -> Iterator[Imported]:
    """The runs of a file, plain or compressed by gzip, one at a time. Raises ImportRefused, OSError."""
    with path.open("rb") as plain:
        packed = plain.read(2) == _GZIP
        plain.seek(0)
        with gzip.open(plain) if packed else plain as file:
            yield from read_lines(_bounded(file), wanted)  # type: ignore[arg-type]  # both give lines of bytes


def read_lines(lines: Iterable[bytes], wanted: Import) -> Iterator[Imported]:
    """The runs of these lines; empty ones are skipped. Raises ImportRefused at the first that is wrong."""
    seen: Counter[bytes] = Counter()  # equal lines are different runs
    decoder = msgspec.json.Decoder(_Line)
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line = decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ImportRefused(f"line {number}: {error}") from error
        if line.created_at is not None and line.created_at.tzinfo is None:
            raise ImportRefused(f"line {number}: created_at must say its offset from UTC, as in 2026-01-31T12:00:00Z")
        if line.created_at is not None and line.created_at < wanted.oldest:
            raise ImportRefused(
                f"line {number}: created_at is longer ago than runs are kept (RUN_DAYS); leave it out, or raise that"
            )
        key = hashlib.sha256(msgspec.json.encode([wanted.caller.id, wanted.experiment, line])).digest()
        seen[key] += 1
        yield _imported(line, wanted, hashlib.sha256(key + seen[key].to_bytes(8)).digest())


def _bounded(file: gzip.GzipFile) -> Iterator[bytes]:
    """The lines of a file, none of them so long that it fills the memory."""
    number = 0
    try:
        while line := file.readline(LINE_BYTES_MAX + 1):
            number += 1
            if len(line) > LINE_BYTES_MAX:
                raise ImportRefused(f"line {number}: is longer than {LINE_BYTES_MAX} bytes")
            yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ImportRefused(f"line {number + 1}: the gzip file is cut or damaged there") from error


def _imported(line: _Line, wanted: Import, digest: bytes) -> Imported:
    """The run of a line. Nobody streamed it: there is no log, and what was not measured stays unknown."""
    ms, run_id = _identity(line, wanted, digest)
    question = Question(
        messages=(Message("user", clean(line.question)),),
        fast=LaneAsk(line.fast_model, 0.0, 0.0, 0.0),
        slow=LaneAsk(line.slow_model, 0.0, 0.0, 0.0),
        deadline_s=0.0,
        cache="off",
        labels=Labels(wanted.experiment, line.variant, line.prompt_class),
    )
    created_at = EPOCH + timedelta(milliseconds=ms)
    fingerprint = question.key(scope_of(wanted.caller, "caller"), {}).fingerprint
    opening = Opening(run_id, created_at, wanted.caller.id, fingerprint, question, "import", INSTANCE)
    verdict = compare(clean(line.fast_text), clean(line.slow_text))
    judged = {"fast_correct": line.fast_correct, "slow_correct": line.slow_correct}
    return Imported(_closing(line, opening, verdict), {name: said for name, said in judged.items() if said is not None})


def _identity(line: _Line, wanted: Import, digest: bytes) -> tuple[int, str]:
    """Milliseconds since 1970, and a UUIDv7 that says so and is otherwise made of the digest."""
    if line.created_at is None:
        begin, offset = wanted.at, int.from_bytes(digest[:8]) % _DAY_MS
    else:
        begin, offset = line.created_at, 0
    ms = (begin - EPOCH) // timedelta(milliseconds=1) + offset
    raw = bytearray(max(ms, 0).to_bytes(6) + digest[8:18])
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    return max(ms, 0), str(uuid.UUID(bytes=bytes(raw)))


def _closing(line: _Line, opening: Opening, verdict: Agreement) -> Closing:
    """The outcome: both lanes completed, the slow answer stands."""
    fast = _lane("fast", line.fast_model, line.fast_text, (line.fast_ttft_ms, line.fast_latency_ms))
    slow = _lane("slow", line.slow_model, line.slow_text, (line.slow_ttft_ms, line.slow_latency_ms))
    return Closing(
        opening=opening,
        status="completed",
        reason=None,
        final_lane="slow",
        verified=True,
        change=_CHANGES[verdict.verdict],
        agreement=verdict,
        latency_ms=line.slow_latency_ms,
        usage=Usage(),
        cost_nano=None,
        lanes={"fast": fast, "slow": slow},
        log=b"",
        at_ms=(),
    )


def _lane(name: LaneName, model: str, text: str, times: tuple[float | None, float | None]) -> LaneRecord:
    """A lane that completed. A latency that nobody measured is not a number, which every store writes as null."""
    ttft_ms, latency_ms = times
    end = LaneEnd(
        lane=name,
        outcome="completed",
        reason=None,
        message=None,
        retryable=False,
        ttft_ms=ttft_ms,
        latency_ms=math.nan if latency_ms is None else latency_ms,
        usage=Usage(),
        cost_usd=None,
        model_version=None,
    )
    return LaneRecord(end, model, clean(text), "", None)
