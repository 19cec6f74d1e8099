"""Entries as log lines, for when there is neither disk nor database; and the same lines read back.

An entry is cut into chunks, one JSON object a line: `tandem_audit` (1), `run_id` (what the entry is kept under, for an
attachment its request's id), `version`, `digest` (of the whole, in hex), `part` (from 1), `parts`, `data` (base64).
"""

import base64
import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from app.record.codec import decode, digest
from app.record.store import Filed

FORMAT: Final = 1
CHUNK_BYTES: Final = 48_000  # 64,000 in base64: the line stays below 64 KiB, where log collectors cut
_WRAPPERS: Final = ("jsonPayload", "textPayload", "message", "log")  # where collectors put a line


def lines(run_id: str | None, version: int | None, content_hash: bytes, encoded: bytes) -> Iterator[str]:
    """The lines of one encoded entry, without line ends."""
    parts = max(1, -(-len(encoded) // CHUNK_BYTES))
    for part in range(parts):
        chunk = encoded[part * CHUNK_BYTES : (part + 1) * CHUNK_BYTES]
        fields = {
            "tandem_audit": FORMAT,
            "run_id": run_id,
            "version": version,
            "digest": content_hash.hex(),
            "part": part + 1,
            "parts": parts,
            "data": base64.b64encode(chunk).decode(),
        }
        yield json.dumps(fields, separators=(",", ":"))


class Missing(NamedTuple):
    """An entry of which not all parts were seen, or whose parts do not give what was written."""

    run_id: str | None
    digest: str
    parts: int
    seen: int


class Replay:
    """Reads lines in any order, among other lines, each possibly more than once, possibly wrapped by a collector."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[int, bytes]] = {}
        self._heads: dict[str, tuple[str | None, int]] = {}
        self._done: set[str] = set()

    def feed(self, line: str) -> Filed | None:
        """The entry that this line completes, if it does. Raises Undecodable for one of an unknown format."""
        found = _found(line)
        if found is None or found["digest"] in self._done:
            return None
        key, parts = found["digest"], found["parts"]
        self._heads[key] = (found["run_id"], parts)
        seen = self._parts.setdefault(key, {})
        seen[found["part"]] = found["data"]
        if len(seen) < parts:
            return None
        encoded = b"".join(seen[part] for part in sorted(seen))
        if digest(encoded).hex() != key:
            return None
        self._done.add(key)
        del self._parts[key]
        return Filed(decode(encoded), bytes.fromhex(key))

    @property
    def missing(self) -> list[Missing]:
        """What is not whole so far."""
        return [
            Missing(*self._heads[key][:1], key, self._heads[key][1], len(seen)) for key, seen in self._parts.items()
        ]


def _found(line: str) -> dict[str, Any] | None:
    """The fields of one of our lines; None for any other."""
    if "tandem_audit" not in line:
        return None
    start = line.find("{")
    try:
        fields = json.loads(line[start:])
        while isinstance(fields, dict) and "tandem_audit" not in fields:
            inner = next((fields[name] for name in _WRAPPERS if name in fields), None)
            fields = json.loads(inner) if isinstance(inner, str) else inner
        if not isinstance(fields, dict) or fields["tandem_audit"] != FORMAT:
            return None
        data = base64.b64decode(fields["data"], validate=True)
        numbers = {name: int(fields[name]) for name in ("part", "parts")}
        return numbers | {"data": data, "digest": str(fields["digest"]), "run_id": fields["run_id"]}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
