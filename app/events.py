"""The closed set of events, which may follow which, and their bytes on the wire (protocol version 1).

An event is encoded once, here, to the bytes every reader sends. JSON is escaped to ASCII, because raw U+2028 and its
like break clients that split on every line end, and NUL and lone surrogates become U+FFFD.
"""

import json
import re
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final, Literal

import msgspec

from app.errors import Outcome
from app.question import PROTOCOL, LaneName

EventName = Literal["start", "delta", "preliminary", "lane_end", "final", "done"]
Status = Literal["completed", "partial", "timeout", "failed", "cancelled", "shutdown"]
Change = Literal["confirmed", "revised", "undetermined", "unopposed", "unverified"]
AuditState = Literal["durable", "pending"]

# What may come after what. None is the beginning; nothing follows `done`.
FOLLOWS: Final[Mapping[str | None, frozenset[str]]] = {
    None: frozenset({"start"}),
    "start": frozenset({"delta", "preliminary", "lane_end", "final", "done"}),
    "delta": frozenset({"delta", "preliminary", "lane_end"}),
    "preliminary": frozenset({"lane_end"}),
    "lane_end": frozenset({"delta", "preliminary", "lane_end", "final", "done"}),
    "final": frozenset({"done"}),
    "done": frozenset(),
}

# A delta from behind its number up to its text; it has nothing to escape before that.
_DELTA_DATA: Final = {
    lane: {kind: f'\ndata: {{"lane":"{lane}","kind":"{kind}","text":' for kind in ("answer", "thinking")}
    for lane in ("fast", "slow")
}

RETRY_MS: Final = 2000
PING: Final = b": ping\n"

_UNSAFE = re.compile("[\x00\ud800-\udfff]")
_BEYOND_ASCII = re.compile("[^\x00-\x7f]+")
_encode = msgspec.json.Encoder().encode


def clean(text: str) -> str:
    """The text with every NUL and lone surrogate replaced by U+FFFD; halves of a pair that meet are joined first."""
    if text.isascii():
        return text.replace("\x00", "\ufffd") if "\x00" in text else text
    if _UNSAFE.search(text) is None:
        return text
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _UNSAFE.sub("\ufffd", whole)


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one lane or of a run. A number that is not known is None, never 0."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    thinking_tokens: int | None = None
    cached_tokens: int | None = None
    source: Literal["reported", "estimated", "unknown"] = "unknown"


class LaneEnd(msgspec.Struct, frozen=True):
    """How one lane ended. Times in milliseconds since the lane started."""

    lane: LaneName
    outcome: Outcome
    reason: str | None
    message: str | None
    retryable: bool
    ttft_ms: float | None
    latency_ms: float
    usage: Usage
    cost_usd: float | None
    model_version: str | None


class Preliminary(msgspec.Struct, frozen=True):
    """The fast answer, shown before the run was settled."""

    lane: LaneName
    text: str
    finish_reason: str
    ttft_ms: float | None
    latency_ms: float
    usage: Usage
    cost_usd: float | None


class Agreement(msgspec.Struct, frozen=True):
    """Whether two answers say the same, by which method; similarity is from 0 to 1 and never called agreement."""

    verdict: Literal["agree", "disagree", "unknown"]
    method: str
    version: int
    similarity: float | None


class FinalAnswer(msgspec.Struct, frozen=True):
    """Whose answer stands. verified: the slow lane completed."""

    lane: LaneName
    verified: bool
    text: str
    agreement: Agreement | None
    change: Change


class Start(msgspec.Struct, frozen=True):
    """The first event. Times in milliseconds."""

    run_id: str
    policy: str
    lanes: dict[LaneName, dict[str, str]]
    deadline_ms: int
    audit: AuditState
    source: Literal["live", "cache"] = "live"
    queued_ms: int = 0
    protocol: int = PROTOCOL


class Done(msgspec.Struct, frozen=True):
    """The last event; it tells the truth."""

    status: Status
    final_lane: LaneName | None
    verified: bool
    reason: str | None
    usage: Usage
    cost_usd: float | None
    latency_ms: float | None
    slow: bool
    fingerprint: str
    audit: AuditState
    source: Literal["live", "cache"] = "live"


def interrupted(fingerprint: str) -> Done:
    """The last word on a run whose server died under it."""
    return Done(
        status="failed",
        final_lane=None,
        verified=False,
        reason="interrupted",
        usage=Usage(),
        cost_usd=None,
        latency_ms=None,
        slow=False,
        fingerprint=fingerprint,
        audit="durable",
    )


Payload = Start | Preliminary | LaneEnd | FinalAnswer | Done
NAMES: Final[Mapping[type, EventName]] = {
    Start: "start",
    Preliminary: "preliminary",
    LaneEnd: "lane_end",
    FinalAnswer: "final",
    Done: "done",
}


def dump(payload: Any) -> str:  # noqa: ANN401  # a dataclass or plain JSON values
    """One line of ASCII JSON, free of NUL and lone surrogates."""
    try:
        line = _encode(payload)
    except UnicodeEncodeError:
        line = _encode(_cleaned(msgspec.to_builtins(payload)))
    text = line.decode()
    if "\\u0000" in text:
        text = _encode(_cleaned(msgspec.to_builtins(payload))).decode()
    return text if text.isascii() else _BEYOND_ASCII.sub(lambda match: quoted(match[0])[1:-1], text)


def _cleaned(value: Any) -> Any:  # noqa: ANN401  # JSON has no narrower type
    """The same JSON value with every string clean."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value


def frame(run_id: str, seq: int, payload: Payload) -> bytes:
    """The bytes of one whole event. `retry:` travels inside `start`, never alone."""
    name = NAMES[type(payload)]
    retry = f"retry: {RETRY_MS}\n" if name == "start" else ""
    return f"event: {name}\n{retry}id: {run_id}:{seq}\ndata: {dump(payload)}\n\n".encode("ascii")


def delta_frames(run_id: str, seq: int, lane: LaneName, kind: str, texts: Iterable[str]) -> list[str]:
    """Deltas as ASCII text, ready to be joined, numbered from seq on; the texts are clean."""
    head, data = f"event: delta\nid: {run_id}:", _DELTA_DATA[lane][kind]
    return [f"{head}{number}{data}{quoted(text)}}}\n\n" for number, text in enumerate(texts, seq)]


def parse(block: bytes) -> tuple[EventName, int, dict[str, Any]]:
    """One event of our own framing as (name, seq, data); for readers that re-encode a log."""
    fields = dict(line.split(": ", 1) for line in block.decode("ascii").strip("\n").split("\n"))
    return fields["event"], int(fields["id"].rpartition(":")[2]), json.loads(fields["data"])  # type: ignore[return-value]
