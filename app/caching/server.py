"""The running server, as the cache commands ask it: what it refuses, and that none answers, told in one line."""

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import httpx
import typer

from app.errors import TandemError
from app.terminal.key import key_headers
from app.terminal.stream import Refused, Unreachable

Url = Annotated[str, typer.Option(envvar="TANDEM_URL", help="The running server.")]
LOCAL_URL: Final = "http://127.0.0.1:8080"
LONGEST_S: Final = 3660.0  # beyond every deadline that a server grants


class NoTandem(TandemError):
    """Something answers at the address, but it is no Tandem."""

    code = "no_tandem"


class Server:
    """A running server. Every call raises Unreachable, Refused or NoTandem."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[httpx.Headers, Any]:
        """The headers and the JSON of one answer; None for an empty one."""
        try:
            response = await self._http.request(method, f"{self._url.rstrip('/')}{path}", json=body)
            told = response.json() if response.content else None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            words = "start one with `tandem serve`, or name another with --url or TANDEM_URL"
            raise Unreachable(f"no server answers at {self._url}: {words}") from error
        except ValueError as error:
            raise NoTandem(f"what answers at {self._url} is no Tandem") from error
        if not response.is_success:
            problem = told if isinstance(told, dict) else {}
            raise Refused(response.status_code, problem, response.headers.get("retry-after"))
        return response.headers, told

    async def stats(self) -> dict[str, Any]:
        """What the server says of its stored answers."""
        _, told = await self.call("GET", "/api/cache/stats")
        if not isinstance(told, dict) or "levels" not in told:
            raise NoTandem(f"what answers at {self._url} is no Tandem that stores answers")
        return told


@contextlib.asynccontextmanager
async def server(url: str) -> AsyncIterator[Server]:
    """The server at this address; a proxy of the environment is not asked."""
    timeout = httpx.Timeout(10.0, read=LONGEST_S)
    async with httpx.AsyncClient(headers=key_headers(), trust_env=False, timeout=timeout) as http:
        yield Server(http, url)
