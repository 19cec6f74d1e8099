"""A model behind any OpenAI-compatible endpoint: OpenAI, Gemini's compatible one, vLLM, Ollama, llama.cpp.

The hot path of the product. What has arrived is read at once, cut into whole events and yielded together; there is
no task, lock, log or timer per event. The lane above owns the clock: the only timeouts here are for connecting and
for two reads that happen when the answer is already known.
"""

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Final

import msgspec
from yarl import URL

from app.events import clean
from app.llm.connection import Broken, Connection
from app.llm.failures import answered, broken, malformed
from app.llm.model import Item, LanguageModel, Prompt
from app.llm.options import ProviderOptions
from app.llm.pool import Pool
from app.llm.reading import Reading
from app.llm.sse import MAX_EVENT_BYTES, Cutter

MAX_ERROR_BYTES: Final = 8 << 10
ERROR_BODY_S: Final = 1.0
END_OF_BODY_S: Final = 0.05

_UNCODED: Final = (b"", b"identity")
_UNFIT: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # for a header


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
        self._headers = _headers(options, self._url)
        self._pool: Pool | None = None

    async def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """Stream one answer; the connection is dropped unless the answer was read to its end."""
        pool = self._pool
        if pool is None:
            pool = self._pool = self._open_pool()
        try:
            connection = await pool.post(self._body(prompt), prompt.along)
        except Broken as error:
            raise broken(error, answering=False) from error
        try:
            reading = await self._begun(connection)
            if connection.content_type == b"application/json":
                for item in await _unstreamed(connection, reading):
                    yield item
            cutter = Cutter()
            while not reading.ended:
                for item in await _arrived(connection, cutter, reading):
                    yield item
            if reading.failure is not None:
                raise reading.failure
            await _reach_end(connection)
        finally:
            pool.release(connection)

    async def close(self) -> None:
        """Close the pool and every connection in it."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _open_pool(self) -> Pool:
        options = self._options
        return Pool(
            self._url,
            self._headers,
            options.connect_timeout_s,
            limit=options.max_connections,
            keep=options.keep_connections,
        )

    async def _begun(self, connection: Connection) -> Reading:
        """The beginning of an answer, if the head of the response says success."""
        if not 200 <= connection.status < 300:
            raise answered(connection.status, await _beginning(connection), self._options.api_key)
        if connection.encoding not in _UNCODED:
            raise malformed("a compressed answer, though none was asked for")
        if connection.content_type == b"text/html":
            raise malformed("a web page")
        return Reading(self._options.api_key)

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


def _endpoint(options: ProviderOptions) -> URL:
    """Where to post; a query (an API version) is kept."""
    try:
        url = URL(options.base_url)
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("the base URL (OPENAI_BASE_URL) must look like https://host/v1")
    return url.with_path(url.raw_path.rstrip("/") + "/chat/completions", encoded=True, keep_query=True)


def _headers(options: ProviderOptions, url: URL) -> bytes:
    """What every request says of us. A key replaces the user part of the base URL."""
    lines = ["Accept: text/event-stream", "Accept-Encoding: identity", "Content-Type: application/json"]
    lines.append("User-Agent: tandem")
    if options.api_key:
        lines.append(f"Authorization: Bearer {options.api_key}")
    elif url.user is not None:
        user = f"{url.user}:{url.password or ''}"
        lines.append(f"Authorization: Basic {b64encode(user.encode()).decode()}")
    if any(map(_UNFIT.search, lines)):
        raise ValueError("the API key (OPENAI_API_KEY) holds a line break or another control character")
    return "".join(f"{line}\r\n" for line in lines).encode()


async def _arrived(connection: Connection, cutter: Cutter, reading: Reading) -> list[Item]:
    """Everything one read brought. A connection lost after the model's end marker is its end."""
    try:
        data = await connection.read()
    except Broken as error:
        reading.ended = True
        if not reading.settled:
            reading.failure = broken(error, answering=True)
            reading.failure.__cause__ = error
        return []
    return reading.take(cutter.feed(data)) if data else reading.last(cutter.end())


async def _unstreamed(connection: Connection, reading: Reading) -> list[Item]:
    """The whole answer, or the error, of a server that did not stream."""
    body = b""
    try:
        while data := await connection.read():
            body += data
            if len(body) > MAX_EVENT_BYTES:
                raise malformed(f"a body of more than {MAX_EVENT_BYTES} bytes")
    except Broken as error:
        raise broken(error, answering=True) from error
    items = reading.take([(b"", body)])
    reading.ended = True
    return items


async def _beginning(connection: Connection) -> bytes:
    """The beginning of an error's body, as much as arrives soon."""
    body = b""
    with suppress(TimeoutError, Broken):
        async with asyncio.timeout(ERROR_BODY_S):
            while len(body) < MAX_ERROR_BYTES and (data := await connection.read()):
                body += data
    return body[:MAX_ERROR_BYTES]


async def _reach_end(connection: Connection) -> None:
    """Read the end of the body, which follows the last event at once, so that the connection can be used again."""
    if connection.free:
        return
    with suppress(TimeoutError, Broken):
        async with asyncio.timeout(END_OF_BODY_S):
            while await connection.read():
                pass
