"""What a client may send, and how it becomes a Question with every default filled in."""

import asyncio
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, Self, TypeVar

from fastapi import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.types import Receive

from app.errors import BodyTooLarge, MalformedRequest, UnknownPolicy, WrongContentType
from app.events import clean
from app.http.departure import is_whole
from app.http.problems import invalid
from app.question import POLICIES, Labels, LaneAsk, Message, Question, Role
from app.record.detectors import SECRETS, mask

BODY_TIMEOUT_S = 10.0

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Label = Annotated[str, Field(min_length=1, max_length=128)]

_INPUT = "The question as one string; or else `messages`"
_POLICY = "`race`: both lanes start at once; the fast answer is preliminary, the slow one final"
_DEADLINE = "Bounds the whole run, in seconds; the server's own bound caps it"
_CACHE = "`use` a live run or a stored answer; `refresh`: ask anew and store; `off`: neither look, store nor share"
_REPLAY = "How a stored answer is played: at once, or at the pace at which it was given"
_ON_DISCONNECT = "Whether the run is cancelled when its last reader has left, or goes on within its deadline"
_LABEL = "A label for the record"
_STREAM = "Events as they come; false: one JSON object at the end"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


@lru_cache(1000)  # to look for keys takes 50 us, and there are few models
def check_model(name: str) -> str:
    """A model's name, which is shown and kept as it is. ValueError when a key stands in it."""
    if mask(name, SECRETS)[1]:
        raise ValueError("looks like a key, not like a model")
    return name


class LaneBody(_Strict):
    """What a client may ask of one lane; times in seconds."""

    model: Annotated[str, Field(min_length=1, max_length=300), AfterValidator(check_model)] | None = None
    timeout_s: Seconds | None = None
    first_token_timeout_s: Seconds | None = None
    idle_timeout_s: Seconds | None = None
    max_output_tokens: Annotated[int, Field(gt=0, le=200_000)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None


_NO_WISHES = LaneBody()


class MessageBody(_Strict):
    """One turn of a conversation."""

    role: Role
    content: Annotated[str, Field(min_length=1)]


class _Common(_Strict):
    """The scalars that POST and GET share."""

    input: Annotated[str, Field(min_length=1)] | None = Field(None, description=_INPUT)
    policy: str = Field("race", description=_POLICY)
    deadline_s: Seconds | None = Field(None, description=_DEADLINE)
    cache: Literal["use", "refresh", "off"] = Field("use", description=_CACHE)
    replay: Literal["instant", "paced"] = Field("instant", description=_REPLAY)
    on_disconnect: Literal["cancel", "finish"] = Field("cancel", description=_ON_DISCONNECT)
    experiment: Label | None = Field(None, description=_LABEL)
    variant: Label | None = Field(None, description=_LABEL)
    prompt_class: Label | None = Field(None, description=f"{_LABEL}, by which a stored answer lives longer or shorter")
    stream: bool = Field(default=True, description=_STREAM)


class ReasonBody(_Common):
    """The JSON body of POST /v1/reason; exactly one of `input` and `messages`."""

    messages: Annotated[list[MessageBody], Field(min_length=1, max_length=500)] | None = None
    fast: LaneBody | None = None
    slow: LaneBody | None = None
    tags: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=32)] | None = None

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.input is None) == (self.messages is None):
            raise ValueError("give exactly one of `input` and `messages`")
        if self.input is not None and not self.input.strip():
            raise ValueError("`input` is only white space")
        if self.messages is not None and self.messages[-1].role != "user":
            raise ValueError("the last of `messages` must have the role `user`")
        if self.messages is not None and not self.messages[-1].content.strip():
            raise ValueError("the last of `messages` is only white space")
        return self


class ReasonQuery(_Common):
    """The query parameters of GET /v1/reason: the scalars alone."""

    last_event_id: str | None = Field(None, description="The id of the last event that was seen: resume its run")


@dataclass(frozen=True, slots=True)
class Defaults:
    """The server's own answer to what a question leaves open, and its bound on the whole run, in seconds."""

    fast: LaneAsk
    slow: LaneAsk
    deadline_s: float


def to_question(body: ReasonBody, defaults: Defaults) -> Question:
    """The question as it will be asked. Raises UnknownPolicy."""
    if body.policy not in POLICIES:
        raise UnknownPolicy(f"policy is not one of: {', '.join(POLICIES)}", known=list(POLICIES))
    deadline_s = min(body.deadline_s or defaults.deadline_s, defaults.deadline_s)
    if body.messages is None:
        messages: tuple[Message, ...] = (Message("user", clean(body.input or "")),)
    else:
        messages = tuple(Message(message.role, clean(message.content)) for message in body.messages)
    return Question(
        messages=messages,
        fast=_lane(body.fast, defaults.fast, deadline_s),
        slow=_lane(body.slow, defaults.slow, deadline_s),
        deadline_s=deadline_s,
        policy=body.policy,
        cache=body.cache,
        replay=body.replay,
        on_disconnect=body.on_disconnect,
        labels=Labels(body.experiment, body.variant, body.prompt_class, tuple(body.tags or ())),
    )


def _lane(asked: LaneBody | None, default: LaneAsk, deadline_s: float) -> LaneAsk:
    """The lane's settings with the client's wishes on top, no time beyond the deadline."""
    asked = asked or _NO_WISHES
    timeout_s = min(asked.timeout_s or default.timeout_s, deadline_s)
    return LaneAsk(
        model=asked.model or default.model,
        timeout_s=timeout_s,
        first_token_timeout_s=min(asked.first_token_timeout_s or default.first_token_timeout_s, timeout_s),
        idle_timeout_s=min(asked.idle_timeout_s or default.idle_timeout_s, timeout_s),
        max_output_tokens=asked.max_output_tokens or default.max_output_tokens,
        temperature=default.temperature if asked.temperature is None else asked.temperature,
    )


_Body = TypeVar("_Body", bound=BaseModel)


async def read_body(request: Request, max_bytes: int, shape: type[_Body]) -> _Body:
    """A body of that shape, bounded in size and time. Raises BodyTooLarge, WrongContentType, MalformedRequest."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise WrongContentType("send the body as JSON with `content-type: application/json`")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise WrongContentType("send the body as it is, without `content-encoding`: nothing is unpacked here")
    text = await _bytes(request, max_bytes)
    try:
        body = shape.model_validate_json(text)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False, include_context=False)) from None
    _DECODER.raw_decode(text.decode().lstrip(_BLANKS))  # that it is JSON to its end is known
    return body


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without a key that comes twice: of that, two readers could make two different questions."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise MalformedRequest("an object in the body has the same key twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct)
_BLANKS = " \t\n\r"  # JSON's


async def discard_body(request: Request, max_bytes: int) -> None:
    """Read a body that nobody needs: behind what is unread the server would not see the client leave."""
    await _bytes(request, max_bytes)


async def _bytes(request: Request, max_bytes: int) -> bytes:
    if int(request.headers.get("content-length") or 0) > max_bytes:
        raise _too_large(max_bytes)
    if is_whole(request.scope):
        return await _gathered(request.receive, max_bytes)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _gathered(request.receive, max_bytes)
    except TimeoutError:
        raise MalformedRequest(f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from None


async def _gathered(receive: Receive, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise MalformedRequest("the client left before its body was complete")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > max_bytes:
            raise _too_large(max_bytes)
        more = message.get("more_body", False)
    return b"".join(parts)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than the {max_bytes} bytes that this address takes")


def read_query(request: Request) -> ReasonQuery:
    """The parameters of a GET, each at most once, as strict as a body. Raises MalformedRequest."""
    pairs = request.query_params.multi_items()
    params = dict(pairs)
    if len(params) < len(pairs):
        raise MalformedRequest("a query parameter was given twice")
    try:
        return ReasonQuery.model_validate_strings(params)
    except ValidationError as error:
        raise invalid(
            error.errors(include_url=False, include_input=False, include_context=False),
            "; GET takes the scalar fields of the body alone",
        ) from None


def query_to_body(query: ReasonQuery) -> ReasonBody:
    """The same question as a body. Raises MalformedRequest."""
    fields = query.model_dump(exclude={"last_event_id"}, exclude_unset=True)
    try:
        return ReasonBody.model_validate(fields)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False, include_context=False)) from None
