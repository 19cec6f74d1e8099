"""/api/experiments/export: every record that passes, as a stream in one of three formats."""

import asyncio
import importlib
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.errors import ParquetUnavailable
from app.experiments.exporting import MEDIA_TYPES, Encoder, Export, Format, Lines, Table
from app.http.callers import Asker
from app.http.describe import REFUSALS
from app.http.filters import FilterQuery, GivenMask, once
from app.http.parts import GivenPast

PARQUET: Final = "app.experiments.parquet"


class ExportQuery(FilterQuery):
    """Which records, in which format, and whether with what was asked and said."""

    format: Annotated[Format, Field(description="parquet needs the extra of that name on the server")] = "jsonl"
    payload: Annotated[bool, Field(description="With questions and answers")] = False


class ExportResponse(StreamingResponse):
    """Owns the export it reads: however the response ends, its connection is given back."""

    def __init__(self, export: Export, chunks: AsyncIterator[bytes], kind: Format) -> None:
        name = f"tandem-experiments.{kind}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        super().__init__(chunks, headers=headers, media_type=MEDIA_TYPES[kind])
        self._export = export

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all; a client that leaves ends it at once."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._export.close()


routes: Final = APIRouter(tags=["experiments"], responses=REFUSALS, dependencies=[Depends(once)])


@routes.get(
    "/api/experiments/export", response_class=Response, summary="Every record that passes, as JSONL, CSV or Parquet"
)
async def download(past: GivenPast, mask: GivenMask, caller: Asker, query: Annotated[ExportQuery, Query()]) -> Response:
    encoder = await _encoder(query.format, payload=query.payload)
    export = await past.reads.export(caller, query.as_kept(mask, caller).filters(), payload=query.payload)
    try:  # a database that does not answer is told while a refusal is still possible
        first = await export.batch()
    except BaseException:  # cancelled too: no response owns the export yet
        export.close()
        raise
    return ExportResponse(export, _chunks(export, encoder, first), query.format)


async def _encoder(kind: Format, *, payload: bool) -> Encoder:
    """What writes that format. Raises ParquetUnavailable."""
    if kind == "jsonl":
        return Lines()
    if kind == "csv":
        return Table(payload=payload)
    try:  # in a thread: its import takes a second
        parquet = await asyncio.to_thread(importlib.import_module, PARQUET)
    except ImportError as error:
        raise ParquetUnavailable("format: install the extra `parquet` (pyarrow) or ask for jsonl or csv") from error
    encoder: Encoder = parquet.Parquet(payload=payload)
    return encoder


async def _chunks(export: Export, encoder: Encoder, records: list[dict[str, Any]]) -> AsyncIterator[bytes]:
    """The bytes of the file. An error on the way breaks the connection off, so that no half file looks whole."""
    while records:
        yield await asyncio.to_thread(encoder.encode, records)
        records = await export.batch()
    yield await asyncio.to_thread(encoder.end)
