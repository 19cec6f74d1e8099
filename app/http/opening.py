"""What a server that listens already answers while its parts are still being loaded and opened."""

import asyncio
import json
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

ALIVE = {"status": "ok"}
STARTING = {"status": "not ready", "checks": {"process": "starting"}}
_TOLD: dict[str, tuple[int, dict[str, Any]]] = {
    "/health/live": (200, ALIVE),
    "/health/ready": (503, STARTING),
}


class Opening:
    """The application, as soon as there is one. Until then the process is alive and not ready; all else waits."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._opened = asyncio.Event()

    def open(self, app: ASGIApp) -> None:
        """From now on the application answers, also those who wait."""
        self._app = app
        self._opened.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        if self._app is None:
            if told := _TOLD.get(scope["path"]):
                await _tell(send, *told)
                return
            await self._opened.wait()
        assert self._app is not None
        await self._app(scope, receive, send)


async def _tell(send: Send, status: int, body: dict[str, Any]) -> None:
    text = json.dumps(body).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(text)).encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
