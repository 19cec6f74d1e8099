"""The running server, as the commands ask it: what it refuses, and that none answers, told in one line."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final

import httpx
import typer

from app.errors import MalformedRequest, TandemError
from app.terminal.key import key_headers
from app.terminal.stream import NO_TEXT, NoTandem, Refused, Unreachable

Url = Annotated[str, typer.Option(envvar="TANDEM_URL", help="The running server.")]
LOCAL_URL: Final = "http://127.0.0.1:8080"
LONGEST_S: Final = 3660.0  # beyond every deadline that a server grants
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
PASSING: Final = frozenset({429, 502, 503, 504})  # refusals for now: busy, or away behind a proxy
LONGEST_PAUSE_S: Final = 60.0


class Server:
    """A running server. Every call raises Unreachable, Refused or NoTandem."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url

    async def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, params: Mapping[str, Any] | None = None
    ) -> tuple[httpx.Headers, Any]:
        """The headers and the JSON of one answer; None for an empty one. A parameter that is None is left out."""
        wanted = {name: value for name, value in (params or {}).items() if value is not None}
        try:
            response = await self._http.request(method, path, json=body, params=wanted)
            told = _json_of(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            words = "start one with `tandem serve`, or name another with --url or TANDEM_URL"
            raise Unreachable(f"no server answers at {self._url}: {words}") from error
        except UnicodeEncodeError:
            raise MalformedRequest(NO_TEXT) from None
        except ValueError as error:
            raise NoTandem(f"what answers at {self._url} is no Tandem") from error
        if not response.is_success:
            problem = told if isinstance(told, dict) else {}
            raise Refused(response.status_code, problem, response.headers.get("retry-after"))
        return response.headers, told

    async def read(self, path: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401  # what a query may hold
        """The JSON object at this path."""
        _, told = await self.call("GET", path, params=params)
        if not isinstance(told, dict):
            raise NoTandem(f"what answers at {self._url} is no Tandem")
        return told

    async def stats(self) -> dict[str, Any]:
        """What the server says of its stored answers."""
        told = await self.read("/api/cache/stats")
        if "levels" not in told:
            raise NoTandem(f"what answers at {self._url} is no Tandem that stores answers")
        return told


def _json_of(response: httpx.Response) -> Any:  # noqa: ANN401  # whatever the server says
    """The body; None for an empty one, and for the words of a proxy behind which the server is away."""
    try:
        return response.json() if response.content else None
    except ValueError:
        if response.status_code in PASSING:
            return None
        raise


def pause_after(error: TandemError, every_s: float) -> float:
    """Seconds until another look at a server that is away or busy; raises the error where waiting helps nobody."""
    if isinstance(error, Unreachable):
        return every_s
    if not isinstance(error, Refused) or error.status not in PASSING:
        raise error
    said = error.retry_after or ""
    return max(every_s, min(float(said), LONGEST_PAUSE_S)) if said.isdecimal() else every_s


@contextlib.asynccontextmanager
async def server(url: str, timeout: httpx.Timeout | None = None) -> AsyncIterator[Server]:
    """The server at this address."""
    async with client(url, timeout or httpx.Timeout(10.0, read=LONGEST_S)) as http:
        yield Server(http, url)


def client(url: str, timeout: httpx.Timeout) -> httpx.AsyncClient:
    """A client with our key; a proxy of the environment never stands before a server on this machine."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeEncodeError):
        parsed = httpx.URL("")  # the request then fails with a message that names the address
    return httpx.AsyncClient(
        base_url=parsed,
        headers=key_headers(),
        timeout=timeout,
        trust_env=parsed.host not in LOOPBACK,
        verify=parsed.scheme != "http",  # to read the authorities takes 20 ms, for nothing where there is no TLS
    )
