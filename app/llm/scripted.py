"""A model that plays a script: for tests, for load, and for trying the console with no network.

`scripted:fast?first=0.2&gap=0.01&tokens=100`: a name from SCRIPTS and, after `?`, how to play it. Times in seconds.
All waiting goes through the event loop's clock, the blocked thread of `block` excepted.
"""

import asyncio
import math
import re
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import cycle, groupby, islice
from operator import itemgetter
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

from app.errors import ModelError
from app.events import Usage
from app.llm.model import Finish, Item, Kind, LanguageModel, Pieces, Prompt
from app.llm.options import ProviderOptions

# What happens in place of the normal end, once every piece was said.
Failure = Literal["hang", "error", "refuse", "cut", "endless", "stubborn", "block"]

MODEL_VERSION: Final = "scripted-1"
MAX_QUOTE_CHARS: Final = 200
BATCH: Final = 16
BLOCKED_THREADS: Final = 4

# Each parameter with its type and its upper bound; the lower one is 0.
_PARAMETERS: Final[dict[str, tuple[type[int] | type[float], float]]] = {
    "first": (float, 3600),
    "gap": (float, 3600),
    "tokens": (int, 100_000),
    "hold": (float, 60),
}

_QUICK: Final = "You asked: {question} This quick answer was scripted: no model has thought about it."
_LONG: Final = (
    "You asked: {question} This slower answer was scripted too. Had a model been asked, it would now weigh the "
    "question again, look for what the quick answer missed, and say where it is sure and where it is not. "
    "No model has thought about it."
)
_THOUGHT: Final = "Let me see what is asked before I answer. "
_GARBAGE: Final = ("NUL \x00,", " lone \ud800,", " lines \u2028\u2029\x85,", " split \ud83d", "\ude00,", " \udc00 end")


@dataclass(frozen=True, slots=True)
class Script:
    """What to say and when; first is the time to the first piece, gap that between pieces, in seconds.

    text: one string, cut into words with the question filled in, or the very pieces. tokens: say exactly that many
    pieces, repeating the text as needed. hold: how long `stubborn` and `block` ignore that they were cancelled.
    """

    text: str | tuple[str, ...] = _QUICK
    thought: str = ""
    first: float = 0.05
    gap: float = 0.02
    failure: Failure | None = None
    tokens: int | None = None
    hold: float = 5.0

    def words(self, question: str) -> list[tuple[Kind, str]]:
        """Everything that is said before the end, in order."""
        said = self.text if isinstance(self.text, tuple) else _words(self.text.replace("{question}", question))
        if self.tokens is not None:
            said = list(islice(cycle(said), self.tokens))
        return [("thinking", word) for word in _words(self.thought)] + [("answer", word) for word in said]


SCRIPTS: Final[dict[str, Script]] = {
    "fast": Script(),
    "slow": Script(text=_LONG, first=0.8, gap=0.05),
    "think": Script(text=_LONG, thought=_THOUGHT, first=0.3, gap=0.03),
    "long": Script(text=_LONG, first=0.2, gap=0.0, tokens=5000),
    "hang": Script(text=(), failure="hang"),
    "stall": Script(tokens=3, failure="hang"),
    "error": Script(text=(), failure="error"),
    "break": Script(tokens=3, failure="error"),
    "cut": Script(tokens=3, failure="cut"),
    "refuse": Script(text=(), failure="refuse"),
    "empty": Script(text=()),
    "blank": Script(text=(" ", "\n", "\t ")),
    "endless": Script(gap=0.01, failure="endless"),
    "garbage": Script(text=_GARBAGE),
    "stubborn": Script(tokens=3, failure="stubborn"),
    "block": Script(tokens=3, failure="block"),
}


def open_model(name: str, options: ProviderOptions) -> LanguageModel:  # noqa: ARG001  # the shape all providers share
    """The model that plays the named script; ValueError when the name or a parameter is not known."""
    base, _, query = name.partition("?")
    if base not in SCRIPTS:
        raise ValueError(f"unknown script {base!r}; known are {', '.join(sorted(SCRIPTS))}")
    return ScriptedModel(f"scripted:{name}", _tuned(SCRIPTS[base], query))


class ScriptedModel:
    """Plays one script to whoever asks. It owns the threads that `block` blocks."""

    def __init__(self, name: str, script: Script) -> None:
        self.name = name
        self._script = script
        self._closed = threading.Event()
        self._threads: ThreadPoolExecutor | None = None

    async def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """Play the script; words without a gap between them come together."""
        script = self._script
        words = script.words(_question(prompt))
        said = words[: prompt.max_output_tokens]
        await asyncio.sleep(script.first)
        for index, batch in enumerate(_batches(said, script.gap)):
            if index:
                await asyncio.sleep(script.gap)
            yield batch
        if script.failure == "endless":
            for batch in cycle(_batches(words * BATCH, script.gap)):
                await asyncio.sleep(script.gap)
                yield batch
        await self._fail()
        if script.failure is None:
            yield _usage(prompt, said)
            yield Finish("stop" if len(said) == len(words) else "length", MODEL_VERSION)

    async def close(self) -> None:
        """Let blocked threads go."""
        self._closed.set()
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    async def _fail(self) -> None:
        match self._script.failure:
            case "hang":
                await asyncio.Event().wait()
            case "stubborn":
                await _ignore_cancellation(self._script.hold)
            case "block":
                await self._block(self._script.hold)
            case "error":
                raise ModelError("scripted_error", "The script says to fail here.", retryable=True)
            case "refuse":
                raise ModelError("refused", "The model declined to answer.", outcome="refused")

    async def _block(self, seconds: float) -> None:
        """Wait for a thread that sleeps; cancelling neither wakes the thread nor ends the wait."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(BLOCKED_THREADS, thread_name_prefix="scripted-block")
        blocked = asyncio.get_running_loop().run_in_executor(self._threads, self._closed.wait, seconds)
        cancelled = None
        while not blocked.done():
            try:
                await asyncio.wait({blocked})
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled


async def _ignore_cancellation(seconds: float) -> None:
    """Be silent until cancelled, and go on for that long after it, however often it is repeated."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(left)
        raise


def _batches(said: list[tuple[Kind, str]], gap: float) -> list[Pieces]:
    """The words that come together: all of a kind, or each alone when there is a gap between them."""
    if gap > 0:
        return [Pieces(kind, [word]) for kind, word in said]
    return [Pieces(kind, [word for _, word in words]) for kind, words in groupby(said, itemgetter(0))]


def _words(text: str) -> list[str]:
    """The text cut where a model might: before every space."""
    return re.findall(r"\s*\S+", text)


def _question(prompt: Prompt) -> str:
    """The last thing the user said, in quotation marks, shortened."""
    asked = next((m.content for m in reversed(prompt.messages) if m.role == "user"), "")
    asked = " ".join(asked.split())
    return f"“{asked if len(asked) <= MAX_QUOTE_CHARS else asked[: MAX_QUOTE_CHARS - 1] + '…'}”"


def _usage(prompt: Prompt, said: list[tuple[Kind, str]]) -> Usage:
    """A word counts as a token."""
    return Usage(
        input_tokens=sum(len(message.content.split()) for message in prompt.messages),
        output_tokens=len(said),
        thinking_tokens=sum(kind == "thinking" for kind, _ in said),
        source="reported",
    )


def _tuned(script: Script, query: str) -> Script:
    """The script with the parameters of a query string."""
    tuned: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in _PARAMETERS:
            raise ValueError(f"unknown parameter {key!r} of a script; known are {', '.join(_PARAMETERS)}")
        kind, highest = _PARAMETERS[key]
        tuned[key] = _number(key, value, kind, highest)
    return replace(script, **tuned)


def _number(key: str, value: str, kind: type[int] | type[float], highest: float) -> float:
    """A number from 0 to highest."""
    try:
        number = kind(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= highest:
        raise ValueError(f"{key} of a script must be a number from 0 to {highest:g}, not {value!r}")
    return number
