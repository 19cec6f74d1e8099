"""Question and Caller: what was asked, by whom; the fingerprint that equal questions share."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import msgspec

LaneName = Literal["fast", "slow"]
LANES: tuple[LaneName, LaneName] = ("fast", "slow")
Role = Literal["system", "user", "assistant"]
Scope = Literal["caller", "tenant", "global"]
Right = Literal["ask", "read", "admin"]
Content = Literal["full", "redacted", "hash_only", "none"]
STRICTNESS: Final[tuple[Content, ...]] = ("full", "redacted", "hash_only", "none")
KEEPING_TEXTS: Final = ("full", "redacted")

PROTOCOL = 1
EVERY_RIGHT: Final[frozenset[Right]] = frozenset({"ask", "read", "admin"})
POLICIES = ("race",)

MARKS_MAX: Final = 30  # in a row, as in Unicode's stream-safe text

_json = msgspec.json.Encoder().encode
_BLANK_BEFORE_LINE_END = re.compile(r"\n(?<=[^\S\n]\n)")  # led by the line end, which is what can be searched fast
_NO_MARK = r"\w\s\x00-\x7f"
_PERHAPS_MARKS = re.compile(rf"(?<![^{_NO_MARK}])[^{_NO_MARK}]{{{MARKS_MAX + 1},}}")


class Message(msgspec.Struct, frozen=True):
    """One turn of the conversation that is asked about."""

    role: Role
    content: str


class LaneAsk(msgspec.Struct, frozen=True):
    """What one lane is to do. Times in seconds; None leaves the choice to the model's provider."""

    model: str
    timeout_s: float
    first_token_timeout_s: float
    idle_timeout_s: float
    max_output_tokens: int | None = None
    temperature: float | None = None


class Labels(msgspec.Struct, frozen=True):
    """What an experimenter writes on a run, to find it again."""

    experiment: str | None = None
    variant: str | None = None
    prompt_class: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a caller is given, where it differs from the server's settings: None leaves those as they are.

    usd: US dollars; 0 is nothing at all. streams: open at a time. priority: 0 to 9, the highest goes first.
    content: what is written down of questions and answers, never more than the server writes.
    """

    requests_per_minute: int | None = None
    requests_per_hour: int | None = None
    tokens_per_hour: int | None = None
    usd_per_hour: float | None = None
    usd_per_day: float | None = None
    streams: int | None = None
    priority: int | None = None
    content: Content | None = None
    cache_scope: Scope | None = None


NOTHING_GRANTED: Final = Grant()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what they may. Every query for a run or a record is scoped to this id; callers may have a tenant.

    Two are the same caller when their id is: what they may changes while a run lives.
    """

    id: str
    tenant: str = field(default="", compare=False)
    rights: frozenset[Right] = field(default=EVERY_RIGHT, compare=False)
    grant: Grant = field(default=NOTHING_GRANTED, compare=False)


class Key(NamedTuple):
    """What answers and live runs are found by: within which scope they are shared, and the question's fingerprint."""

    scope: str
    fingerprint: str


class Question(msgspec.Struct, frozen=True):
    """A valid question with every default filled in; deadline_s bounds the whole run, in seconds."""

    messages: tuple[Message, ...]
    fast: LaneAsk
    slow: LaneAsk
    deadline_s: float
    policy: str = "race"
    cache: Literal["use", "refresh", "off"] = "use"
    replay: Literal["instant", "paced"] = "instant"
    on_disconnect: Literal["cancel", "finish"] = "cancel"
    labels: Labels = Labels()

    def lane(self, name: LaneName) -> LaneAsk:
        """What the named lane is to do."""
        return self.fast if name == "fast" else self.slow

    def key(self, scope: str, versions: Mapping[LaneName, str]) -> Key:
        """Where its answer is found: SHA-256 in hex over what changes it and nothing else: no id, label or timeout.

        versions: what a model's name does not tell about it, as the address it is reached at.
        """
        texts = [_folded(message.content).encode("utf-8", "surrogatepass") for message in self.messages]
        # The names are in the order of the alphabet, and stay so: there is one way to write a question down.
        head = {
            "lanes": {
                "fast": _head(self.fast, versions.get("fast", "")),
                "slow": _head(self.slow, versions.get("slow", "")),
            },
            "messages": [(message.role, len(text)) for message, text in zip(self.messages, texts, strict=True)],
            "policy": self.policy,
            "protocol": PROTOCOL,
            "scope": scope,
        }
        # The texts stand behind the head, which has their lengths: no two questions have the same bytes.
        canonical = b"".join((_json(head), *texts))
        return Key(scope, hashlib.sha256(canonical).hexdigest())


def _head(ask: LaneAsk, version: str) -> dict[str, str | float | None]:
    """What of a lane changes its answer."""
    return {
        "max_output_tokens": _number(ask.max_output_tokens),
        "model": ask.model,
        "temperature": _number(ask.temperature),
        "version": version,
    }


def _folded(text: str) -> str:
    """The text in NFC, lines ended by LF, no white space at line ends and around it; the rest is kept: code."""
    text = _composed(text)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _BLANK_BEFORE_LINE_END.search(text):
        text = "\n".join(map(str.rstrip, text.split("\n")))
    return text.strip()


def _composed(text: str) -> str:
    """The text in NFC, or as it is when too many marks stand in a row: to sort those takes quadratic time."""
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return text
    for run in _PERHAPS_MARKS.findall(text):
        kinds = {ord(char): unicodedata.category(char)[0] for char in set(run)}
        if "M" * (MARKS_MAX + 1) in run.translate(kinds):
            return text
    return unicodedata.normalize("NFC", text)


def _number(value: float | None) -> float | None:
    """The number in its one form: 1 and 1.0 are the same."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def scope_of(caller: Caller, kind: Scope) -> str:
    """Within which an answer to this caller is shared; a caller without a tenant shares with nobody."""
    if kind == "global":
        return kind
    return f"tenant:{caller.tenant}" if kind == "tenant" and caller.tenant else f"caller:{caller.id}"


def stricter(one: Content, other: Content) -> Content:
    """Whichever of the two lets less be written down."""
    return max(one, other, key=STRICTNESS.index)
