"""Question and Caller: what was asked, by whom; the fingerprint that equal questions share."""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

LaneName = Literal["fast", "slow"]
LANES: tuple[LaneName, LaneName] = ("fast", "slow")
Role = Literal["system", "user", "assistant"]

PROTOCOL = 1
POLICIES = ("race",)

_canonical_json = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation that is asked about."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class LaneAsk:
    """What one lane is to do. Times in seconds; None leaves the choice to the model's provider."""

    model: str
    timeout_s: float
    first_token_timeout_s: float
    idle_timeout_s: float
    max_output_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """What an experimenter writes on a run, to find it again."""

    experiment: str | None = None
    variant: str | None = None
    prompt_class: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. Every query for a run or a record is scoped to this id; a tenant is a group of callers."""

    id: str
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Question:
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

    def fingerprint(self, caller: Caller) -> str:
        """SHA-256, in hex, over what changes the answer and nothing else: no ids, labels or timeouts."""
        canonical = {
            "protocol": PROTOCOL,
            "scope": caller.id,
            "policy": self.policy,
            "messages": [[m.role, m.content] for m in self.messages],
            "lanes": [[a.model, a.max_output_tokens, a.temperature] for a in (self.fast, self.slow)],
        }
        return hashlib.sha256(_canonical_json(canonical).encode()).hexdigest()
