"""Decode the chunks of an OpenAI-compatible answer, in all the dialects servers speak."""

import json
from typing import Any, Final

import msgspec

from app.events import Usage
from app.llm.failures import malformed


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


strictly: Final = msgspec.json.Decoder(Chunk).decode
_MOST_TOKENS: Final = 10**9  # of one answer: sums of more, and of what they cost, leave 64 bits


def decode(data: bytes) -> Chunk:
    """One chunk; what the strict decoder rejects (lone surrogates, bad UTF-8, odd types) is read leniently."""
    try:
        return strictly(data)
    except (ValueError, RecursionError):
        return _lenient(data)


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
    said = Said(**{name: _known(value, name, str) for name in Said.__struct_fields__})
    parts = value.get("content")
    if isinstance(parts, list):  # what Mistral's models say that think
        said.content = "".join(_texts(parts))
        said.reasoning_content = "".join(text for thought in _of_kind("thinking", parts) for text in _texts(thought))
    return said


def _texts(parts: Any) -> list[str]:  # noqa: ANN401  # JSON has no narrower type
    """The texts among the parts of a content, or of a thought."""
    return [text for text in _of_kind("text", parts) if isinstance(text, str)]


def _of_kind(kind: str, parts: Any) -> list[Any]:  # noqa: ANN401  # JSON has no narrower type
    """What the parts of that kind hold."""
    found = parts if isinstance(parts, list) else []
    return [part.get(kind) for part in found if isinstance(part, dict) and part.get("type") == kind]


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
