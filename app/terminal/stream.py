"""One run over HTTP: asks once, and when the connection is lost comes back to the same run, never to a second one."""

import asyncio
import json
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import httpx

from app.errors import MalformedRequest, TandemError
from app.terminal.words import safe

# Seconds before each attempt to come back; any new event starts the row anew.
PAUSES_S: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
NO_TEXT: Final = "an argument is no UTF-8 text"
PASSING: Final = (HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)


class Event(NamedTuple):
    """One event of the stream; id is `<run_id>:<seq>`."""

    name: str
    id: str
    data: dict[str, Any]

    @property
    def seq(self) -> int:
        """The place of the event in its run, -1 for an id that is not ours."""
        digits = self.id.rpartition(":")[2]
        return int(digits) if digits.isdecimal() else -1


class Unreachable(TandemError):
    """No server answered at the address."""

    code = "unreachable"


class NoTandem(TandemError):
    """Something answers at the address, but it is no Tandem."""

    code = "no_tandem"


class Lost(TandemError):
    """The connection to a live run was lost and did not come back."""

    code = "connection_lost"


class Refused(TandemError):
    """The server refused; code and message are those of its problem+json."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after: str | None) -> None:
        super().__init__(safe(str(problem.get("detail") or problem.get("title") or "no explanation was given")))
        self.status = status
        self.problem_code = safe(str(problem.get("code") or f"http_{status}"))
        self.retry_after = retry_after


class Parser:
    """Server-Sent Events from bytes that are cut anywhere; comments are ignored, a cut event is never delivered."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that are whole now."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            event = self._line(line.removesuffix(b"\r").decode("utf-8", "replace"))
            if event is not None:
                yield event

    def _line(self, line: str) -> Event | None:
        if line:
            name, _, value = line.partition(":")
            self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        return Event(fields.get("event", "message"), fields.get("id", ""), _json_object(fields["data"]))


def _json_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object in text, empty when it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class Run:
    """One run as its client follows it; on_event is called for every new event, in order, once."""

    def __init__(self, http: httpx.AsyncClient, on_event: Callable[[Event], None]) -> None:
        self._http = http
        self._on_event = on_event
        self._last: Event | None = None
        self._attempt = 0
        self.id: str | None = None
        self.source = "live"  # or `attached`, a run that somebody else's question began; or `cache`
        self.done = False

    async def follow(self, body: dict[str, Any]) -> None:
        """Ask and read until `done`. Cancelling it closes the connection; the run goes on for its grace."""
        try:
            async with self._http.stream("POST", "/v1/reason", json=body) as response:
                await _refuse(response)
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise NoTandem(f"what answers at {self._http.base_url} is no Tandem")
                self.id = response.headers.get("x-run-id")
                self.source = response.headers.get("x-run-source", "live")
                await self._read(response)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unreachable(f"no server answers at {self._http.base_url}") from error
        except UnicodeEncodeError:
            raise MalformedRequest(NO_TEXT) from None
        if self.id is None:
            raise NoTandem(f"what answers at {self._http.base_url} is no Tandem")
        while not self.done and self._attempt < len(PAUSES_S):
            await self._come_back()
        if not self.done:
            raise Lost(f"the connection was lost and did not come back; run {self.id} may have ended without you")

    async def cancel(self) -> bool:
        """Ask the server to stop the run; False when there is none, or it did not hear."""
        if self.id is None:
            return False
        try:
            return (await self._http.post(f"/v1/runs/{self.id}/cancel", timeout=2.0)).is_success
        except httpx.TransportError:
            return False

    async def _come_back(self) -> None:
        """One attempt to read the rest of the run, after its pause."""
        pause = PAUSES_S[self._attempt]
        self._attempt += 1
        await asyncio.sleep(pause)
        headers = {"Last-Event-ID": self._last.id} if self._last else {}
        try:
            async with self._http.stream("GET", f"/v1/runs/{self.id}/events", headers=headers) as response:
                if response.status_code in PASSING or response.is_server_error:
                    return
                await _refuse(response)
                self.done = response.status_code == HTTPStatus.NO_CONTENT
                await self._read(response)
        except httpx.TransportError:
            return  # the next attempt, or the end of the row, tells
        except Refused as error:
            code = f"{error.status} {error.problem_code}"
            raise Lost(f"the connection was lost, and run {self.id} refused after that ({code})") from error

    async def _read(self, response: httpx.Response) -> None:
        """Deliver what arrives until `done`, the end, or the loss of the connection."""
        parser = Parser()
        try:
            async for chunk in response.aiter_bytes():
                for event in parser.feed(chunk):
                    self._take(event)
                if self.done:
                    return
        except httpx.TransportError:
            return  # `done` was not seen, so the caller comes back

    def _take(self, event: Event) -> None:
        if self._last is not None and event.seq <= self._last.seq:
            return
        self._last, self._attempt = event, 0
        self.id = self.id or event.id.rpartition(":")[0]
        self.done = event.name == "done"
        self._on_event(event)


async def _refuse(response: httpx.Response) -> None:
    """Raise Refused for anything that is no success."""
    if response.is_success:
        return
    problem = _json_object(await response.aread())
    raise Refused(response.status_code, problem, response.headers.get("retry-after"))
