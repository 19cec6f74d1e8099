"""Records as an Apache Parquet file, row group by row group. Loaded on demand: pyarrow is large and optional."""

import io
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from app.experiments.exporting import Kind, cell, columns

GROUP_ROWS: Final = 5_000
PAYLOAD_GROUP_ROWS: Final = 250  # each may hold whole answers

_TYPES: Final[dict[Kind, Any]] = {
    "text": pa.string(),
    "float": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
    "texts": pa.list_(pa.string()),
}


class Parquet:
    """Holds at most one row group of records."""

    def __init__(self, *, payload: bool) -> None:
        self._columns = columns(payload=payload)
        self._schema = pa.schema([(column.name, _TYPES[column.kind]) for column in self._columns])
        self._rows = PAYLOAD_GROUP_ROWS if payload else GROUP_ROWS
        self._waiting: list[dict[str, Any]] = []
        self._file = io.BytesIO()
        # The writer asks only how far it has come, never to go back: what was taken may be forgotten.
        self._writer = pq.ParquetWriter(pa.PythonFile(_Forward(self._file), "w"), self._schema, compression="snappy")

    def encode(self, records: Sequence[dict[str, Any]]) -> bytes:
        """The row groups that these records completed."""
        self._waiting += records
        while len(self._waiting) >= self._rows:
            self._group(self._waiting[: self._rows])
            del self._waiting[: self._rows]
        return self._take()

    def end(self) -> bytes:
        """The last row group and the footer."""
        if self._waiting:
            self._group(self._waiting)
        self._writer.close()
        return self._take()

    def _group(self, records: Sequence[dict[str, Any]]) -> None:
        """Write one row group."""
        arrays = [
            pa.array([cell(record, column) for record in records], type=_TYPES[column.kind]) for column in self._columns
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=self._rows)

    def _take(self) -> bytes:
        """The bytes since the last time."""
        written = self._file.getvalue()
        self._file.seek(0)
        self._file.truncate()
        return written


class _Forward(io.RawIOBase):
    """A file that only grows: it knows how far it has come, and keeps nothing itself."""

    def __init__(self, into: io.BytesIO) -> None:
        super().__init__()
        self._into = into
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer
        written = self._into.write(data)
        self._at += written
        return written

    def tell(self) -> int:
        return self._at
