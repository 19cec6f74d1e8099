"""Decode the chunks of an OpenAI-compatible answer, in all the dialects servers speak."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from app.errors import ModelError
from app.events import Usage
from app.llm.failures import malformed, refused, reported
from app.llm.model import Finish, Item, Kind, Pieces
from app.llm.sse import Event


class InputDetails(msgspec.Struct, gc=False):
    """What the input tokens were."""

    cached_tokens: int | None = None


class OutputDetails(msgspec.Struct, gc=False):
    """What the output tokens were."""

    reasoning_tokens: int | None = None


class Tokens(msgspec.Struct, gc=False):
    """Upstream's own count."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None

    def usage(self) -> Usage:
        """The same in our words."""
        given, made = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            input_tokens=_count(self.prompt_tokens),
            output_tokens=_count(self.completion_tokens),
            thinking_tokens=_count(made.reasoning_tokens) if made else None,
            cached_tokens=_count(given.cached_tokens) if given else None,
            source="reported",
        )


def _count(number: int | None) -> int | None:
    """The number when it can be a count of tokens; the lenient reader takes true for a number, as Python does."""
    return number if type(number) is int and 0 <= number <= _MOST_TOKENS else None


class Said(msgspec.Struct, gc=False):
    """A delta, or the message of an answer that was not streamed."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class Choice(msgspec.Struct, gc=False):
    """One of the answers; we ask for one only."""

    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct, gc=False):
    """One event's data, or the body of an answer that was not streamed. message: the error of some older servers."""

    choices: list[Choice] | None = None
    usage: Tokens | None = None
    model: str | None = None
    error: Any = None
    message: str | None = None


_decode: Final = msgspec.json.Decoder(Chunk).decode
_decode_all: Final = msgspec.json.Decoder(list[Chunk]).decode
_DONE: Final = b"[DONE]"
_LENGTH: Final = frozenset({"length", "max_tokens", "model_length"})
_FILTERED: Final = frozenset({"content_filter", "safety"})
_ABANDONED: Final = frozenset({"abort", "cancelled"})
_UNFINISHED: Final = "null"  # what some servers put into every chunk before the last
_MOST_TOKENS: Final = 2**53


def decode(data: bytes) -> Chunk:
    """One chunk; what the strict decoder rejects (lone surrogates, bad UTF-8, odd types) is read leniently."""
    try:
        return _decode(data)
    except (ValueError, RecursionError):
        return _lenient(data)


def decode_all(texts: Sequence[bytes]) -> Iterable[Chunk]:
    """Many chunks at once, which costs little more than one; one by one, and lazily, where any of them is odd."""
    if len(texts) > 1:
        with suppress(ValueError, RecursionError):
            chunks = _decode_all(b"[%b]" % b",".join(texts))
            if len(chunks) == len(texts):
                return chunks
    return map(decode, texts)


def _lenient(data: bytes) -> Chunk:
    """The fields that have the type we know; the others are taken as missing."""
    try:
        value = json.loads(data.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError) as error:
        raise malformed("an event that is not JSON") from error
    if not isinstance(value, dict):
        raise malformed("an event that is not a chunk of an answer")
    choices = value.get("choices")
    return Chunk(
        choices=[_choice(item) for item in choices if isinstance(item, dict)] if isinstance(choices, list) else None,
        usage=_tokens(value.get("usage")),
        model=_known(value, "model", str),
        error=value.get("error"),
        message=_known(value, "message", str),
    )


def _choice(value: dict[str, Any]) -> Choice:
    return Choice(
        delta=_said(value.get("delta")),
        message=_said(value.get("message")),
        finish_reason=_known(value, "finish_reason", str),
    )


def _said(value: Any) -> Said | None:  # noqa: ANN401  # JSON has no narrower type
    if not isinstance(value, dict):
        return None
    return Said(**{name: _known(value, name, str) for name in Said.__struct_fields__})


def _tokens(value: Any) -> Tokens | None:  # noqa: ANN401  # JSON has no narrower type
    if not isinstance(value, dict):
        return None
    given, made = value.get("prompt_tokens_details"), value.get("completion_tokens_details")
    return Tokens(
        prompt_tokens=_known(value, "prompt_tokens", int),
        completion_tokens=_known(value, "completion_tokens", int),
        prompt_tokens_details=InputDetails(_known(given, "cached_tokens", int)),
        completion_tokens_details=OutputDetails(_known(made, "reasoning_tokens", int)),
    )


def _known(value: Any, name: str, kind: type) -> Any:  # noqa: ANN401  # JSON has no narrower type
    """The member when it has the expected type, else None."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, kind) else None


class Reading:
    """Folds the events of one answer into items. What was said before a failure is handed out before it is raised.

    ended: nothing more is to be read. failure: to be raised when everything was handed out.
    """

    __slots__ = (
        "_finish",
        "_items",
        "_key",
        "_kind",
        "_model",
        "_texts",
        "_told_finish",
        "_told_usage",
        "_usage",
        "ended",
        "failure",
    )

    def __init__(self, key: str | None = None) -> None:
        self.ended = False
        self.failure: ModelError | None = None
        self._items: list[Item] = []  # of one read
        self._kind: Kind | None = None  # of the last piece among them
        self._texts: list[str] = []  # that came with it
        self._key = key
        self._model: str | None = None
        self._usage: Tokens | None = None
        self._told_usage: Tokens | None = None
        self._finish: str | None = None
        self._told_finish = False

    @property
    def settled(self) -> bool:
        """Whether the model said how it ended, so that a connection lost now loses nothing."""
        return self._finish is not None or self.failure is not None

    def take(self, events: list[Event]) -> list[Item]:
        """What these events say: the text, that of a kind together, the usage if it is new, the finish."""
        self._items, self._kind = [], None
        try:
            for (name, _), chunk in zip(events, decode_all(self._before_end(events)), strict=False):
                if chunk.error is not None or name == b"error":
                    raise reported(chunk.message if chunk.error is None else chunk.error, self._key)
                if chunk.usage is not None:
                    self._usage = chunk.usage
                if chunk.choices:
                    self._take(chunk.choices[0], chunk.model)
                elif chunk.message is not None:
                    raise reported(chunk.message, self._key)
        except ModelError as error:
            self.ended = True
            if not self.settled:
                self.failure = error
        self._count()
        return self._items

    def _before_end(self, events: list[Event]) -> list[bytes]:
        """The data of the events before the end, if that is among them."""
        texts = [data for _, data in events]
        if _DONE in texts:
            self.ended = True
            del texts[texts.index(_DONE) :]
        return texts

    def last(self, events: list[Event]) -> list[Item]:
        """What an event says that upstream left open at its end; a torn one says nothing."""
        self.ended = True
        try:
            for _, data in events:
                if data != _DONE:
                    decode(data)
        except ModelError:
            return []
        return self.take(events)

    def _take(self, choice: Choice, model: str | None) -> None:
        said = choice.delta or choice.message
        if said is not None:
            if thought := said.reasoning_content or said.reasoning:
                self._tell("thinking", thought)
            if said.content:
                self._tell("answer", said.content)
            elif said.refusal:
                self.failure = refused("refused")
        if choice.finish_reason:
            self._end(choice.finish_reason.lower(), model)

    def _tell(self, kind: Kind, text: str) -> None:
        """One more piece, together with those right before it that are of its kind."""
        if kind != self._kind:
            self._kind, self._texts = kind, []
            self._items.append(Pieces(kind, self._texts))
        self._texts.append(text)

    def _end(self, reason: str, model: str | None) -> None:
        """Note how the model ended. The usage may still follow, so that reading goes on."""
        if reason == _UNFINISHED:
            return
        self._model = model
        if reason in _FILTERED:
            self.failure = refused("content_filter")
        elif reason == "error":
            raise reported(None, self._key)
        elif self.failure is None and reason not in _ABANDONED:
            self._finish = "length" if reason in _LENGTH else "stop"

    def _count(self) -> None:
        """Tell the usage and the finish, unless they were told."""
        if self._usage is not self._told_usage:
            if self._usage is not None and self._usage != self._told_usage:
                self._items.append(self._usage.usage())
            self._told_usage = self._usage
        if self._finish is not None and not self._told_finish:
            self._told_finish = True
            self._items.append(Finish(self._finish, self._model))
