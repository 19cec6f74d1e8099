"""How a lane reaches Gemini on Vertex AI and what it asks of it: the words of the settings, read and bounded here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Level = Literal["minimal", "low", "medium", "high"]

MOST_THINKING_TOKENS: Final = 65_536
CATEGORIES: Final[Mapping[str, int]] = {"hate": 1, "dangerous": 2, "harassment": 3, "sexual": 4}
THRESHOLDS: Final[Mapping[str, int]] = {"low": 1, "medium": 2, "high": 3, "none": 4, "off": 5}

# The service's numbers of the levels.
LEVELS: Final[Mapping[str, int]] = {"low": 1, "medium": 2, "high": 3, "minimal": 4}

_PROJECT: Final = re.compile(r"[a-z0-9.:-]{1,100}")
_LOCATION: Final = re.compile(r"[a-z0-9-]{1,40}")
_ENDPOINT: Final = re.compile(r"(?:http://)?(?:[A-Za-z0-9.-]+|\[[0-9a-f:]+\])(?::\d{1,5})?")
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*|endpoints/\d+")
_SECOND: Final = re.compile(r"gemini-2\b")
_LATER: Final = re.compile(r"gemini-[3-9]\b")
# Of the later models those that think least at `minimal`; the others refuse the word.
_MINIMAL: Final = re.compile(r"gemini-3(?:\.[156])?-flash\b")
# What the Pro models of the second generation think at least.
_LEAST_OF_PRO: Final = 128


class Target(NamedTuple):
    """Where a channel leads: host and port. secure: with TLS and credentials, as everywhere but at an emulator."""

    address: str
    secure: bool = True


class Thinking(NamedTuple):
    """How much a model may think, as the service takes it: at most one of the two. shown: as a part of the answer."""

    budget: int | None = None
    level: int | None = None
    shown: bool = False


@dataclass(frozen=True, slots=True)
class VertexAccess:
    """The lanes' access. slow_thoughts: show what the slow model thinks. The texts are as in the settings."""

    project: str | None = None
    location: str = "global"
    endpoint: str | None = None
    fast_thinking: str = "off"
    slow_thinking: str = "auto"
    slow_thoughts: bool = False
    safety: str = ""

    @property
    def target(self) -> Target:
        """The endpoint that is set, else that of the location; with http:// before it an emulator's."""
        if self.endpoint is not None:
            plain = self.endpoint.startswith("http://")
            host = self.endpoint.removeprefix("http://")
            return Target(host if re.search(r":\d+$", host) else f"{host}:{80 if plain else 443}", secure=not plain)
        if self.location == "global":
            return Target("aiplatform.googleapis.com:443")
        if self.location in {"us", "eu"}:
            return Target(f"aiplatform.{self.location}.rep.googleapis.com:443")
        return Target(f"{self.location}-aiplatform.googleapis.com:443")

    def version(self, *, urgent: bool) -> str:
        """What an answer depends on besides the model's name and the question."""
        safety = ",".join(f"{category}={threshold}" for category, threshold in parse_safety(self.safety).items())
        place = f"{self.target.address}/{self.project}/{self.location}"
        shown = "&thoughts=shown" if self._shows(urgent=urgent) else ""
        return f"{place}?thinking={self._thinking(urgent=urgent)}&safety={safety}{shown}"

    def resource(self, model: str) -> str:
        """The full name of a model of Google's, or of a tuned one (`endpoints/NUMBER`). ValueError says what to set."""
        if not self.project:
            raise ValueError("set VERTEX_PROJECT to the Google Cloud project that pays for the model")
        if not _MODEL.fullmatch(model):
            raise ValueError("a model of Vertex AI is named as in vertex:gemini-3.8-flash or vertex:endpoints/123")
        place = f"projects/{self.project}/locations/{self.location}"
        return f"{place}/{model}" if "/" in model else f"{place}/publishers/google/models/{model}"

    def thinking_of(self, model: str, *, urgent: bool) -> Thinking:
        """How much that model may think for a lane; `off` is the least that it can do. An urgent lane shows nothing."""
        shown = self._shows(urgent=urgent)
        word = self._thinking(urgent=urgent)
        if word == "off":
            return _least(model)._replace(shown=shown)
        if word in LEVELS:
            return Thinking(level=LEVELS[word], shown=shown)
        return Thinking(budget=None if word == "auto" else int(word), shown=shown)

    def _shows(self, *, urgent: bool) -> bool:
        """Whether a lane tells what its model thinks, which a stored answer then has."""
        return self.slow_thoughts and not urgent

    def _thinking(self, *, urgent: bool) -> str:
        return self.fast_thinking if urgent else self.slow_thinking


def _least(model: str) -> Thinking:
    """The least that a model can think; nothing is said to one that we do not know."""
    if _SECOND.match(model):
        return Thinking(budget=_LEAST_OF_PRO if "pro" in model else 0)
    if _LATER.match(model):
        return Thinking(level=LEVELS["minimal" if _MINIMAL.match(model) else "low"])
    return Thinking()


def check_thinking(text: str) -> str:
    """The text, if it is off, auto, a level or a number of tokens; else ValueError."""
    number = text.isascii() and text.isdigit() and int(text) <= MOST_THINKING_TOKENS
    if text in {"off", "auto", *LEVELS} or number:
        return text
    raise ValueError(f"must be off, auto, {', '.join(LEVELS)}, or a number of tokens up to {MOST_THINKING_TOKENS}")


def check_project(text: str) -> str:
    """The text, if it can be a project's; else ValueError."""
    return _checked(_PROJECT, text, "must be the id or the number of a Google Cloud project")


def check_location(text: str) -> str:
    """The text, if it can be a location; else ValueError."""
    return _checked(_LOCATION, text, "must be a location such as global, eu or europe-west4")


def check_endpoint(text: str) -> str:
    """The text, if it can be an endpoint; else ValueError."""
    return _checked(_ENDPOINT, text, "must be host or host:port, with http:// before it for an emulator")


def parse_safety(text: str) -> dict[int, int]:
    """Thresholds by category in the service's numbers: `high`, or `hate=low,sexual=off`. ValueError names the word."""
    found: dict[int, int] = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        category, equals, threshold = part.rpartition("=")
        if threshold not in THRESHOLDS:
            raise ValueError(f"{threshold!r} is no threshold; there are {', '.join(THRESHOLDS)}")
        if equals and category not in CATEGORIES:
            raise ValueError(f"{category!r} is no category; there are {', '.join(CATEGORIES)}")
        for name in [category] if equals else CATEGORIES:
            found[CATEGORIES[name]] = THRESHOLDS[threshold]
    return dict(sorted(found.items()))


def _checked(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(what)
    return text
