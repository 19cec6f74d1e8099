"""Records as files: one JSON object a line, or a table whose columns are the same in CSV and Parquet."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Protocol

from app.events import dump
from app.experiments.list import Filters
from app.question import LANES, Caller

Kind = Literal["text", "float", "int", "bool", "time", "texts"]
Format = Literal["jsonl", "csv", "parquet"]
MEDIA_TYPES: Final[dict[Format, str]] = {
    "jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet",
}  # fmt: skip

# A spreadsheet takes a cell that begins so for a formula and runs it.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class Export(Protocol):
    """Records that come in batches, over a connection of their own. Whoever has it must close it."""

    async def batch(self) -> list[dict[str, Any]]:
        """The next records, none at the end. Raises RecordUnavailable."""
        ...

    def close(self) -> None:
        """Give the connection back at once, whether or not everything was read; harmless when it is closed."""
        ...


class Exports(Protocol):
    """Where records are read in bulk."""

    async def export(self, caller: Caller, filters: Filters, *, payload: bool) -> Export:
        """All of the caller's records that pass, newest first. Raises RecordUnavailable and TooManyExports."""
        ...


class Encoder(Protocol):
    """Turns records into the bytes of a file. May be called from any thread, but never from two at once."""

    def encode(self, records: Sequence[dict[str, Any]]) -> bytes:
        """The bytes that these records add; they may come later."""
        ...

    def end(self) -> bytes:
        """The last bytes."""
        ...


class Column(NamedTuple):
    """One column of the table: where its value is in a record, and what it is."""

    name: str
    kind: Kind
    path: tuple[str, ...]


def _columns() -> list[Column]:
    """The columns of a record without its payload."""
    whole = [
        ("run_id", "text"), ("created_at", "time"), ("status", "text"), ("reason", "text"), ("policy", "text"),
        ("source", "text"), ("source_run_id", "text"), ("fingerprint", "text"), ("final_lane", "text"),
        ("verified", "bool"), ("change", "text"), ("latency_ms", "float"), ("cost_usd", "float"),
    ]  # fmt: skip
    lane = [
        ("model", "text"), ("outcome", "text"), ("reason", "text"), ("finish_reason", "text"),
        ("model_version", "text"), ("ttft_ms", "float"), ("latency_ms", "float"), ("cost_usd", "float"),
    ]  # fmt: skip
    usage = ("input_tokens", "output_tokens", "thinking_tokens", "cached_tokens")
    found = [Column(name, kind, (name,)) for name, kind in whole]  # type: ignore[arg-type]  # the words above
    found += [
        Column("agreement", "text", ("agreement", "verdict")),
        Column("agreement_method", "text", ("agreement", "method")),
        Column("agreement_version", "int", ("agreement", "version")),
        Column("similarity", "float", ("agreement", "similarity")),
        *(Column(name, "text", ("labels", name)) for name in ("experiment", "variant", "prompt_class")),
        Column("tags", "texts", ("labels", "tags")),
    ]
    for which in LANES:
        found += [Column(f"{which}_{name}", kind, ("lanes", which, name)) for name, kind in lane]  # type: ignore[arg-type]
        found += [Column(f"{which}_{name}", "int", ("lanes", which, "usage", name)) for name in usage]
        found.append(Column(f"{which}_usage_source", "text", ("lanes", which, "usage", "source")))
    return found


COLUMNS: Final = tuple(_columns())
PAYLOAD_COLUMNS: Final = (
    Column("messages", "text", ("payload", "messages")),
    *(Column(f"{lane}_text", "text", ("payload", "texts", lane)) for lane in LANES),
    *(Column(f"{lane}_thinking", "text", ("payload", "thinking", lane)) for lane in LANES),
)


def columns(*, payload: bool) -> tuple[Column, ...]:
    """The columns of a table."""
    return COLUMNS + PAYLOAD_COLUMNS if payload else COLUMNS


def cell(record: dict[str, Any], column: Column) -> Any:  # noqa: ANN401  # as the column's kind says
    """The value of a column in a record; None where there is none."""
    value: Any = record
    for name in column.path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    if value is None:
        return None
    if column.kind == "time":
        return datetime.fromisoformat(value)
    return json.dumps(value) if column.kind == "text" and not isinstance(value, str) else value


class Lines:
    """JSON Lines: every record as the list shows it."""

    def encode(self, records: Sequence[dict[str, Any]]) -> bytes:
        """One line a record."""
        return "".join(f"{dump(record)}\n" for record in records).encode("ascii")

    def end(self) -> bytes:
        """Nothing: every line ends by itself."""
        return b""


class Table:
    """CSV as RFC 4180 has it, in UTF-8, with a line of names first."""

    def __init__(self, *, payload: bool) -> None:
        self._columns = columns(payload=payload)
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text, lineterminator="\r\n")
        self._writer.writerow(column.name for column in self._columns)

    def encode(self, records: Sequence[dict[str, Any]]) -> bytes:
        """One row a record."""
        for record in records:
            self._writer.writerow(_guarded(cell(record, column)) for column in self._columns)
        return self.end()

    def end(self) -> bytes:
        """What was not yet taken: the names, when there was no record."""
        written = self._text.getvalue().encode("utf-8")
        self._text.seek(0)
        self._text.truncate()
        return written


def _guarded(value: Any) -> Any:  # noqa: ANN401  # a cell of any kind
    """The value as a cell that no spreadsheet takes for a formula; numbers are numbers."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, list):
        return json.dumps(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value
