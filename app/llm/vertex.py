"""Gemini on Vertex AI: `vertex:gemini-3.8-flash`, over the service's own gRPC streams.

The lane above owns the clock: the only timeout here is for connecting. A call is asked again only before its first
message, and only when the service was unavailable or says itself that a moment's wait will do.
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

from app.errors import ModelError
from app.events import clean
from app.llm import vertex_failures as failures
from app.llm.model import Item, LanguageModel, Prompt
from app.llm.options import ProviderOptions
from app.llm.vertex_access import Thinking, parse_safety
from app.llm.vertex_answer import Reading

SDK: Final = "google.cloud.aiplatform_v1"
ATTEMPTS: Final = 3
MOST_WAIT_S: Final = 2.0
SHORT_WAIT_S: Final = 0.1
SPREAD: Final = 0.5  # of a wait, on top: those who failed together do not come back together

_ROLES: Final = {"user": "user", "assistant": "model"}


class _Passing(Exception):
    """A failure that may be over in wait_s; error is what to say when it is not."""

    def __init__(self, error: ModelError, wait_s: float) -> None:
        super().__init__(error.reason)
        self.error = error
        self.wait_s = wait_s


def open_model(name: str, options: ProviderOptions) -> LanguageModel:
    """The model of that name; nothing is loaded or connected yet. ValueError says what is missing and what to do."""
    if not _installed():
        raise ValueError("Google's library is not installed: install tandem with its extra `vertex`")
    return VertexModel(name, options)


def _installed() -> bool:
    try:
        return find_spec(SDK) is not None
    except ModuleNotFoundError:
        return False


class VertexModel:
    """Streams answers over its region's lines, which it shares with every other holder."""

    def __init__(self, name: str, options: ProviderOptions) -> None:
        self.name = f"vertex:{name}"
        self._resource = options.vertex.resource(name)
        self._thinking = {urgent: options.vertex.thinking_of(name, urgent=urgent) for urgent in (True, False)}
        self._safety = parse_safety(options.vertex.safety)
        self._connect_timeout_s = options.connect_timeout_s
        self._regions = options.regions
        self.region = options.regions.take(options.vertex.target)
        self._closed = False

    async def warm(self) -> None:
        """Load Google's library, find credentials and connect. Raises ModelError."""
        await self.region.ready()
        if not await self._connected(self.region.line()):
            raise ModelError("connect_failed", "Vertex AI cannot be reached.", retryable=True)

    async def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """Stream one answer. The call is cancelled however this ends: gRPC would let it run on."""
        sdk = await self.region.ready()
        line = self.region.line()
        line.active += 1
        call = None
        try:
            call, data = await self._begun(sdk, line, partial(line.begin, self._request(sdk, prompt), prompt.along))
            reading = Reading()
            while data is not sdk.END:
                for item in reading.take(_message(sdk, data)):
                    yield item
                if reading.failure is not None:
                    raise reading.failure
                data = await _next(sdk, call, reading)
        finally:
            line.active -= 1
            if call is not None:
                call.cancel()

    async def close(self) -> None:
        """Let the region go; its connection is closed with its last holder."""
        if not self._closed:
            self._closed = True
            await self._regions.give_back(self.region)

    async def _begun(self, sdk: Any, line: Any, begin: Any) -> tuple[Any, Any]:  # noqa: ANN401  # untyped libraries
        """A call and the bytes of its first message; asked again while that may help."""
        for more in reversed(range(ATTEMPTS)):
            try:
                return await self._begin(sdk, line, begin)
            except _Passing as passing:
                if not more:
                    raise passing.error from passing.__cause__
                wait_s = passing.wait_s * (1.0 + SPREAD * random.random())  # noqa: S311  # no secret
            await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    async def _begin(self, sdk: Any, line: Any, begin: Any) -> tuple[Any, Any]:  # noqa: ANN401  # untyped libraries
        """One attempt; a call that fails or is given up is cancelled."""
        connected = await self._connected(line)
        call = await begin()
        try:
            return call, await call.read()
        except sdk.RpcError as error:
            raise _judged(sdk, error, connected=connected) from error
        except BaseException:  # a cancellation too: gRPC lets a call that is dropped run on
            call.cancel()
            raise

    async def _connected(self, line: Any) -> bool:  # noqa: ANN401  # a Line of vertex_sdk
        """Whether there is a connection; ModelError when it is neither made nor refused in time."""
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                return bool(await line.connected())
        except TimeoutError as error:
            raise failures.late() from error

    def _request(self, sdk: Any, prompt: Prompt) -> Any:  # noqa: ANN401  # a protobuf message
        request = sdk.GenerateContentRequest(model=self._resource)
        for message in prompt.messages:
            if message.role == "system":
                request.system_instruction.parts.add(text=clean(message.content))
            else:
                request.contents.add(role=_ROLES[message.role]).parts.add(text=clean(message.content))
        for category, threshold in self._safety.items():
            request.safety_settings.add(category=category, threshold=threshold)
        config = request.generation_config
        if prompt.max_output_tokens is not None:
            config.max_output_tokens = prompt.max_output_tokens
        if prompt.temperature is not None:
            config.temperature = prompt.temperature
        _let_think(config.thinking_config, self._thinking[prompt.urgent])
        return request


def _let_think(config: Any, thinking: Thinking) -> None:  # noqa: ANN401  # a protobuf message
    """Say how much the model may think; what is not said is left to it."""
    if thinking.budget is not None:
        config.thinking_budget = thinking.budget
    if thinking.level is not None:
        config.thinking_level = thinking.level
    if thinking.shown:
        config.include_thoughts = True


def _judged(sdk: Any, error: Any, *, connected: bool) -> Exception:  # noqa: ANN401  # untyped libraries
    """What a failure before the first message is, and whether it may pass by itself."""
    failure = failures.status(error, answering=False, connected=connected)
    delay: float | None = None
    if failure.reason == "upstream_rate_limited":
        delay = sdk.retry_delay(error)
    elif error.code().name == "UNAVAILABLE" and failure.retryable:
        delay = sdk.retry_delay(error) or SHORT_WAIT_S
    return failure if delay is None or delay > MOST_WAIT_S else _Passing(failure, delay)


def _message(sdk: Any, data: bytes) -> Any:  # noqa: ANN401  # a protobuf message
    try:
        return sdk.GenerateContentResponse.FromString(data)
    except sdk.DecodeError as error:
        raise failures.unreadable() from error


async def _next(sdk: Any, call: Any, reading: Reading) -> Any:  # noqa: ANN401  # bytes, or the END of grpc
    """The next message; after the model's end marker a failure is an end like any other."""
    try:
        return await call.read()
    except sdk.RpcError as error:
        if reading.finished:
            return sdk.END
        raise failures.status(error, answering=True) from error
