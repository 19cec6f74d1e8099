"""What Tandem is compared with: the plainest pass-through of one model, `python -m bench.baseline PORT UPSTREAM_PORT`.

Starlette's StreamingResponse over aiohttp's iter_any on uvicorn, uvloop and httptools: no second lane, no parsing, no
limits, no record.
"""

import contextlib
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route


def create_app(upstream: str) -> Starlette:
    """The pass-through to one address."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
            app.state.session = session
            yield

    async def complete(request: Request) -> Response:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        answer = await request.app.state.session.post(upstream, data=await request.body(), headers=headers)

        async def passed_on() -> AsyncIterator[bytes]:
            async with answer:
                async for data in answer.content.iter_any():
                    yield data

        return StreamingResponse(passed_on(), answer.status, media_type="text/event-stream")

    return Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])], lifespan=lifespan)


def main() -> None:
    """Serve until SIGTERM."""
    port, upstream_port = map(int, sys.argv[1:])
    app = create_app(f"http://127.0.0.1:{upstream_port}/v1/chat/completions")
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        backlog=4096,
    )


if __name__ == "__main__":
    main()
