"""The browser that is installed here, without a window; playwright's own download is never used."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright

# The shell of Chromium first: the same engine without a browser's own windows takes two thirds of the processor time.
PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome", "chromium-browser")
EXECUTABLE = next(filter(None, map(shutil.which, PROGRAMS)), None)
# A name that leads here as an attacker's DNS would make it: what DNS rebinding looks like to the browser.
REBOUND = "rebound.example"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1",
]
# Where everything is to be there, a test that cannot run is red.
needs_chromium = pytest.mark.skipif(
    EXECUTABLE is None and os.environ.get("CI") != "true", reason="no Chromium or Chrome is installed"
)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser that ends with the block."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=EXECUTABLE, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def page_elsewhere() -> AsyncIterator[int]:
    """A web server of somebody else, by its port: one empty page."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request with the page."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
