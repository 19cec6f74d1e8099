"""The pages and their files: plain HTML, CSS and ES modules, sent as they lie in app/console.

`client` in there is a link to the JavaScript client, where the project is a checkout; a wheel has its files instead.
What /docs is drawn with comes along in a package: no page of ours takes a script from elsewhere.
"""

import gzip
import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

_PACKED_MAX: Final = 256 * 1024  # bytes; to compress more would hold up the streams
_DRAWN_WITH: Final = ("fastapi_offline", "static")
_FOLDER = Path(__file__).parents[1] / "console"
# What is sent, and as what: the tables of the operating system differ, and know no declarations of TypeScript.
_KINDS: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".ts": "text/plain",
}


class _Files(StaticFiles):
    """Files that a browser asks for anew each time and is sent, compressed, only when they have changed."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """One file, or 304."""
        kind = _KINDS.get(Path(full_path).suffix)
        if kind is None:
            raise HTTPException(404)
        asked = Request(scope).headers
        packed = stat_result.st_size <= _PACKED_MAX and _takes_gzip(asked.get("accept-encoding", ""))
        content, tag = _held(str(full_path), stat_result.st_mtime_ns, packed)
        headers = {"Cache-Control": "no-cache", "ETag": tag, "Vary": "Accept-Encoding"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        response = Response(content, status_code, headers, kind)
        return NotModifiedResponse(response.headers) if self.is_not_modified(response.headers, asked) else response


@lru_cache(512)
def _held(path: str, modified_ns: int, packed: bool) -> tuple[bytes, str]:  # noqa: ARG001  # a key of the cache
    """A file, compressed or not, and its tag; by content, since in an image all files may be of one time."""
    content = Path(path).read_bytes()
    content = gzip.compress(content, mtime=0) if packed else content
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding names gzip and does not refuse it."""
    codings = (coding.replace(" ", "").lower() for coding in accepted.split(","))
    return any(coding.partition(";")[0] == "gzip" and not coding.endswith((";q=0", ";q=0.0")) for coding in codings)


def install(app: FastAPI) -> None:
    """Serve the page at `/`, the interface to read and try at `/docs`, and their files under `/console`."""
    files = _Files(directory=_FOLDER, packages=[_DRAWN_WITH], follow_symlink=True)

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return await files.get_response("docs.html", request.scope)

    app.mount("/console", files, name="console")
