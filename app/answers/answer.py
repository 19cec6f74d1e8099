"""An answer that may be given again: the run as it was streamed, what each lane said, how long it may be served."""

import hashlib
import zlib
from typing import Final

import msgspec

from app.events import Agreement, Change, LaneEnd, Usage
from app.question import LaneName

FORMAT: Final = b"\x01"  # changes whenever an older reader could misread what follows
_CHECKSUM_BYTES: Final = 16

_encode = msgspec.msgpack.Encoder().encode


class Said(msgspec.Struct, frozen=True):
    """One lane of the run that is kept, its numbers as they were."""

    model: str
    text: str
    thinking: str
    finish_reason: str | None
    end: LaneEnd


class Answer(msgspec.Struct, frozen=True):
    """A verified answer. Only runs whose slow lane completed become one.

    events: the bytes between `start` and `done` as the readers saw them, every cost in them 0; at_ms: one number for
    each of these, milliseconds since the run opened. usage, cost_nano and latency_ms are what the run took. Unix times.
    """

    scope: str
    fingerprint: str
    run_id: str
    created_at: float
    expires_at: float
    lanes: dict[LaneName, Said]
    agreement: Agreement | None
    change: Change
    usage: Usage
    cost_nano: int | None
    latency_ms: float
    events: bytes
    at_ms: tuple[int, ...]

    @property
    def size(self) -> int:
        """About how many bytes it holds in memory."""
        said = sum(len(lane.text) + len(lane.thinking) for lane in self.lanes.values())
        return len(self.events) + said + 8 * len(self.at_ms) + 2000


_decode = msgspec.msgpack.Decoder(Answer).decode


def encode(answer: Answer) -> bytes:
    """A format byte, a checksum of the rest, the answer compressed. About a millisecond for 100 kB."""
    body = zlib.compress(_encode(answer), 1)
    return FORMAT + _checksum(body) + body


def decode(data: bytes) -> Answer | None:
    """The answer of these bytes; None when they are of another format, cut short or damaged."""
    body = data[1 + _CHECKSUM_BYTES :]
    if data[:1] != FORMAT or data[1 : 1 + _CHECKSUM_BYTES] != _checksum(body):
        return None
    try:
        return _decode(zlib.decompress(body))
    except (msgspec.MsgspecError, zlib.error):
        return None


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES).digest()
