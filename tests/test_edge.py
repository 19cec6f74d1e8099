"""The outermost layer: no web page may start races on somebody's laptop, and every answer has its headers."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from cells import rows
from servers import Server, serving
from starlette.types import Receive, Scope, Send
from wire import head, tell

from app import trail
from app.http import edge
from app.http.callers import anybody
from app.http.door import Door

pytestmark = pytest.mark.asyncio(loop_scope="module")

OURS = ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:80", "127.8.9.1:8080", "[::1]", "[::1]:8080"]
FOREIGN = [
    "example.com", "localhost.evil.com", "127.0.0.1.evil.com", "evil.com:8080", "localhost@evil.com", "evil.localhost",
    "0.0.0.0", "192.168.1.5:8080", "[::1].evil.com", "[::]", "127.0.0.1:", "localhost:8080:80", "127.1", "", None,
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Server]:
    """A server on loopback, guarded."""
    async with serving() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def public() -> AsyncIterator[Server]:
    """A server as it is when it was bound publicly on purpose."""
    async with serving(guard=False, host="0.0.0.0", allow_anonymous=True) as server:
        yield server


@rows("host", OURS)
async def test_loopback_names_are_answered(server: Server, host: str) -> None:
    """A request to a loopback name is answered, with or without a port."""
    assert (await tell(server.port, head("GET", "/health/live", host=host))).status == 200


@rows("host", FOREIGN)
async def test_foreign_names_are_refused(server: Server, host: str | None) -> None:
    """A request to any other name, or to none, may come from a rebound DNS name and is refused, whatever it wants."""
    for request in (head("GET", "/v1/reason?input=hi", host=host), head("GET", "/", host=host)):
        refused = await tell(server.port, request)
        assert (refused.status, refused.headers["content-type"]) == (403, "application/problem+json")
        assert refused.json()["code"] == "foreign_page"
        assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert server.journal is not None
    assert not server.journal.openings


async def test_two_hosts_are_refused(server: Server) -> None:
    """A request with two Host headers is refused when the first is foreign, and never reaches the application."""
    refused = await tell(server.port, head("GET", "/health/live", "Host: localhost", host="evil.com"))
    assert refused.status in {400, 403}
    refused = await tell(server.port, head("GET", "/health/live", "Host: evil.com", host="localhost"))
    assert refused.status in {400, 403}


@pytest.mark.parametrize("site", ["same-origin", "none", None])
async def test_own_pages_are_answered(server: Server, site: str | None) -> None:
    """A page of our own, a typed address and a program that is no browser are answered."""
    lines = () if site is None else (f"Sec-Fetch-Site: {site}",)
    assert (await tell(server.port, head("GET", "/health/live", *lines))).status == 200


@pytest.mark.parametrize("site", ["cross-site", "Cross-Site", "same-site"])
async def test_pages_of_other_sites_are_refused(server: Server, site: str) -> None:
    """A request that the browser marks as another site's is refused."""
    refused = await tell(server.port, head("GET", "/v1/reason?input=hi", f"Sec-Fetch-Site: {site}"))
    assert (refused.status, refused.json()["code"]) == (403, "foreign_page")


NAVIGATION = ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_link_to_the_page_may_stand_anywhere(server: Server, site: str) -> None:
    """Following a link to the page is allowed from any site; loading it otherwise from there is not."""
    followed = await tell(server.port, head("GET", "/", f"Sec-Fetch-Site: {site}", *NAVIGATION))
    fetched = await tell(server.port, head("GET", "/", f"Sec-Fetch-Site: {site}", "Sec-Fetch-Mode: no-cors"))
    assert (followed.status, fetched.status) == (200, 403)
    assert "frame-ancestors 'none'" in followed.headers["content-security-policy"]


@rows("site", ["cross-site", "same-site"])
@rows("path", ["/v1/reason?input=hi", "/v1/runs/x", "/api/experiments", "/health/", "//"])
async def test_a_link_starts_nothing(server: Server, site: str, path: str) -> None:
    """Following a link from another site to anything but the page is refused, and starts no race."""
    assert server.journal is not None
    refused = await tell(server.port, head("GET", path, f"Sec-Fetch-Site: {site}", *NAVIGATION))
    assert (refused.status, refused.json()["code"]) == (403, "foreign_page")
    assert not server.journal.openings


async def test_a_public_server_has_other_guards(public: Server) -> None:
    """A server that was bound publicly on purpose does not judge by names."""
    request = head("GET", "/health/live", "Sec-Fetch-Site: cross-site", host="tandem.example.com")
    assert (await tell(public.port, request)).status == 200


@rows("path", ["/", "/health/live", "/nowhere", "/v1/reason", "/console/nothing.js"])
async def test_every_answer_has_the_security_headers(server: Server, path: str) -> None:
    """Each answer, an error too, forbids sniffing, foreign scripts, frames and referrers."""
    headers = (await server.client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


@pytest.mark.parametrize("given", ["abc", "A.b_c-9", "x" * 128])
async def test_a_valid_request_id_is_kept(server: Server, given: str) -> None:
    """The caller's own request id comes back."""
    assert (await server.client.get("/health/live", headers={"X-Request-ID": given})).headers["x-request-id"] == given


@rows("given", [b"", b"x" * 129, b"a b", b"a\tb", b"<script>", b"\xe9", b"a\xff"])
async def test_another_request_id_is_replaced(server: Server, given: bytes) -> None:
    """A request id that could do harm in a log is replaced by one of ours."""
    answer = await server.client.get("/health/live", headers=[(b"X-Request-ID", given)])
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize(("state", "kept"), [("vendor=value", "vendor=value"), (f"vendor=sk-proj-{'a1' * 20}", "")])
async def test_a_key_in_a_trace_goes_no_further(state: str, kept: str) -> None:
    """The state of the caller's trace, which providers and the collector are sent, is dropped when a key is in it."""
    seen: list[trail.Trace | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # the shape of an application
        """Note the trace."""
        seen.append(trail.here().trace)

    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": state}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope: Scope = {"type": "http", "method": "GET", "scheme": "http", "path": "/", "query_string": b"", "headers": raw}
    await edge.Edge(app, door=Door(anybody, guard_loopback=False))(scope, never, never)
    assert [trace and trace.state for trace in seen] == [kept]
    assert seen[0] is not None
    assert seen[0].trace_id == "a" * 32


async def never(*_: object) -> Any:
    """Neither receives nor sends."""
