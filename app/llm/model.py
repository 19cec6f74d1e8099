"""The one protocol every language model satisfies: a prompt goes in, pieces of text come out until a Finish."""

from collections.abc import AsyncGenerator, Iterable
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from app.events import Usage
from app.question import Message

Kind = Literal["answer", "thinking"]

CHARS_PER_TOKEN: Final = 4  # the usual rule of thumb for an estimate where a model reports no usage


class Pieces(NamedTuple):
    """Some text in the pieces in which the model said it: part of the answer, or of the thinking before it."""

    kind: Kind
    texts: list[str]


class Finish(msgspec.Struct, frozen=True):
    """The model's own end marker. Without one the answer is incomplete.

    reason is `stop` or `length`; a model that refuses raises ModelError with outcome `refused` instead.
    """

    reason: str
    model_version: str | None = None


Along = tuple[tuple[str, str], ...]


class Prompt(msgspec.Struct, frozen=True):
    """What a lane asks of a model. urgent: somebody waits for the first token (the fast lane).

    along: headers for the provider, by which its traces join ours; names and values are fit for a header.
    """

    messages: tuple[Message, ...]
    max_output_tokens: int | None = None
    temperature: float | None = None
    urgent: bool = True
    along: Along = ()


class Attempt(msgspec.Struct, frozen=True):
    """The model was asked the same once more, for want of a first token; number counts from 1."""

    number: int


Item = Pieces | Usage | Finish | Attempt


@runtime_checkable
class Warming(Protocol):
    """A model that takes a while before its first answer."""

    async def warm(self) -> None:
        """Return when it is ready. Raises ModelError."""
        ...


class LanguageModel(Protocol):
    """A model that streams.

    `ask` is an async generator. It yields text of one kind that has arrived together as one item, a Usage whenever the
    model reports one (the last one counts), an Attempt when the model is asked again, and a Finish once the model's own
    end marker came; it may yield a Usage after that and then returns. It raises ModelError with a stable reason.
    Cancelling the task that iterates it, or closing it, closes the upstream connection at once and leaves nothing
    behind.
    """

    name: str

    def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """Stream the answer to one prompt."""
        ...

    async def close(self) -> None:
        """Release what the model holds (connections, a child process); called once, after the last ask."""
        ...


def chars_of(messages: Iterable[Message]) -> int:
    """How many characters were asked."""
    return sum(len(message.content) for message in messages)


def estimated(asked: int, answer: int, thinking: int) -> Usage:
    """What was used, as far as it can be told by how many characters were asked and heard."""
    thought = -(-thinking // CHARS_PER_TOKEN)
    return Usage(-(-asked // CHARS_PER_TOKEN), -(-answer // CHARS_PER_TOKEN) + thought, thought, source="estimated")
