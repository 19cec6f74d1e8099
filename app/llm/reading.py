"""Fold the chunks of an OpenAI-compatible answer into what a model says."""

from typing import Final

from app.errors import ModelError
from app.llm.chunks import Choice, Tokens, decode
from app.llm.failures import refused, reported
from app.llm.model import Finish, Item, Kind, Pieces
from app.llm.mould import Mould
from app.llm.sse import Event

_DONE: Final = b"[DONE]"
_ERROR: Final = b"error"
_LENGTH: Final = frozenset({"length", "max_tokens", "model_length"})
_FILTERED: Final = frozenset({"content_filter", "safety"})
_ABANDONED: Final = frozenset({"abort", "cancelled"})
_UNFINISHED: Final = "null"  # what some servers put into every chunk before the last


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
        "_mould",
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
        self._mould = Mould()
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
            for name, data in events:
                if data == _DONE:
                    self.ended = True
                    break
                if name != _ERROR and (text := self._mould.text_of(data)):
                    self._tell("answer", text)
                else:
                    self._read(name, data)
        except ModelError as error:
            self.ended = True
            if not self.settled:
                self.failure = error
        self._count()
        return self._items

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

    def _read(self, name: bytes, data: bytes) -> None:
        """What one event says, whatever that is."""
        chunk = decode(data)
        if chunk.error is not None or name == _ERROR:
            raise reported(chunk.message if chunk.error is None else chunk.error, self._key)
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.choices:
            self._take(chunk.choices[0], chunk.model)
            self._mould.learn(data, chunk)
        elif chunk.message is not None:
            raise reported(chunk.message, self._key)

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
