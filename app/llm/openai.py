"""A model behind any OpenAI-compatible endpoint: OpenAI, Gemini's compatible one, vLLM, Ollama, llama.cpp.

The hot path of the product. What has arrived is read at once, cut into whole events and yielded as one list; there is
no task, lock, log or timer per event. The lane above owns the clock: the only timeouts here are for connecting and
for two reads that happen when the answer is already known.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Final

import msgspec
from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    StreamReader,
    TCPConnector,
)
from aiohttp.http import HttpProcessingError
from yarl import URL

from app.events import clean
from app.llm.chunks import Reading
from app.llm.failures import answered, broken, malformed
from app.llm.model import Item, LanguageModel, Prompt
from app.llm.options import ProviderOptions
from app.llm.sse import MAX_EVENT_BYTES, Cutter

MAX_ERROR_BYTES: Final = 8 << 10
KEEPALIVE_S: Final = 15.0
ERROR_BODY_S: Final = 1.0
END_OF_BODY_S: Final = 0.05

_BROKEN: Final = (ClientError, HttpProcessingError, OSError)


def open_model(name: str, options: ProviderOptions) -> LanguageModel:
    """The model of that name at options.base_url; ValueError when the URL is not one."""
    return OpenAIModel(name, options)


class OpenAIModel:
    """Streams chat completions. It owns one pool of connections, opened by the first ask."""

    def __init__(self, name: str, options: ProviderOptions) -> None:
        if not name:
            raise ValueError("the name of the model is missing, as in openai:gpt-5-mini")
        self.name = f"openai:{name}"
        self._model = name
        self._options = options
        self._url = _endpoint(options)
        # OpenAI's newer models accept only the new name, the other servers often only the old one.
        self._cap = "max_completion_tokens" if self._url.host == "api.openai.com" else "max_tokens"
        self._session: ClientSession | None = None

    async def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """Stream one answer; the connection is dropped unless the answer was read to its end."""
        response = await self._send(prompt)
        try:
            reading = Reading(self._options.api_key)
            if response.content_type == "application/json":
                for item in await _unstreamed(response, reading):
                    yield item
            cutter = Cutter()
            while not reading.ended:
                for item in await _arrived(response.content, cutter, reading):
                    yield item
            if reading.failure is not None:
                raise reading.failure
            await _reach_end(response.content)
        finally:
            response.close()

    async def close(self) -> None:
        """Close the pool and every connection in it."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _send(self, prompt: Prompt) -> ClientResponse:
        """The response once its head says success."""
        if self._session is None:
            self._session = _session(self._options)
        try:
            response = await self._session.post(self._url, data=self._body(prompt), allow_redirects=False)
        except _BROKEN as error:
            raise broken(error, answering=False) from error
        if 200 <= response.status < 300:
            return response
        try:
            body = await _beginning(response.content)
        finally:
            response.close()
        raise answered(response.status, body, self._options.api_key)

    def _body(self, prompt: Prompt) -> bytes:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": m.role, "content": clean(m.content)} for m in prompt.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if prompt.max_output_tokens is not None:
            body[self._cap] = prompt.max_output_tokens
        if prompt.temperature is not None:
            body["temperature"] = prompt.temperature
        return msgspec.json.encode(body)


class _Response(ClientResponse):
    """A response whose close drops the connection at once, in whatever state it is.

    A plain close first sends what is left of the request and, over TLS, waits for the other side's farewell: 30 s.
    """

    def close(self) -> None:
        """Drop the connection, unless it went back to the pool. aiohttp calls this too when it is cancelled."""
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.abort()
        super().close()


def _endpoint(options: ProviderOptions) -> URL:
    """Where to post. A key replaces the user part of the base URL; a query (an API version) is kept."""
    try:
        url = URL(options.base_url)
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("the base URL must look like https://host/v1")
    if options.api_key:
        url = url.with_user(None)
    return url.with_path(url.raw_path.rstrip("/") + "/chat/completions", encoded=True, keep_query=True)


def _connector(options: ProviderOptions) -> TCPConnector:
    """Connections are kept for the next ask, unless the server is known to hang up after each."""
    if options.keep_connections:
        return TCPConnector(limit=options.max_connections, keepalive_timeout=KEEPALIVE_S)
    return TCPConnector(limit=options.max_connections, force_close=True)


def _session(options: ProviderOptions) -> ClientSession:
    """A pool that takes nothing from the environment and has no clock of its own beyond connecting."""
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Content-Type": "application/json"}
    if options.api_key:
        headers["Authorization"] = f"Bearer {options.api_key}"
    return ClientSession(
        connector=_connector(options),
        headers=headers,
        timeout=ClientTimeout(total=None, sock_read=None, sock_connect=options.connect_timeout_s),
        cookie_jar=DummyCookieJar(),
        response_class=_Response,
    )


async def _arrived(content: StreamReader, cutter: Cutter, reading: Reading) -> list[Item]:
    """Everything one read brought. A connection lost after the model's end marker is its end."""
    try:
        data = await content.readany()
    except _BROKEN as error:
        items = reading.take(cutter.feed(_left_behind(content, error)))
        reading.ended = True
        if not reading.settled:
            reading.failure = broken(error, answering=True)
            reading.failure.__cause__ = error
        return items
    return reading.take(cutter.feed(data)) if data else reading.last(cutter.end())


def _left_behind(content: StreamReader, error: Exception) -> bytes:
    """What had arrived before the connection broke; the reader hides it behind its exception."""
    content.set_exception(None)  # type: ignore[arg-type]  # lifted for a moment; typed as if it never were
    data = content.read_nowait()
    content.set_exception(error)
    return data


async def _unstreamed(response: ClientResponse, reading: Reading) -> list[Item]:
    """The whole answer, or the error, of a server that did not stream."""
    body = b""
    try:
        while data := await response.content.readany():
            body += data
            if len(body) > MAX_EVENT_BYTES:
                raise malformed(f"a body of more than {MAX_EVENT_BYTES} bytes")
    except _BROKEN as error:
        raise broken(error, answering=True) from error
    items = reading.take([(b"", body)])
    reading.ended = True
    return items


async def _beginning(content: StreamReader) -> bytes:
    """The beginning of an error's body, as much as arrives soon."""
    body = b""
    with suppress(TimeoutError, *_BROKEN):
        async with asyncio.timeout(ERROR_BODY_S):
            while len(body) < MAX_ERROR_BYTES and (data := await content.read(MAX_ERROR_BYTES - len(body))):
                body += data
    return body


async def _reach_end(content: StreamReader) -> None:
    """Read the end of the body, which follows the last event at once, so that the connection can be used again."""
    if content.at_eof():
        return
    with suppress(TimeoutError, *_BROKEN):
        async with asyncio.timeout(END_OF_BODY_S):
            while await content.readany():
                pass
