"""Cut what arrived from upstream into whole server-sent events, wherever the reads happened to split them."""

from typing import Final

from app.llm.failures import malformed

MAX_EVENT_BYTES: Final = 1 << 20

_BOM: Final = b"\xef\xbb\xbf"

# The name of an event (empty when it has none) and its data.
Event = tuple[bytes, bytes]


class Cutter:
    """Holds the beginning of an event until its end arrives; one per stream.

    A read of whole events, the usual case, is split at once. An unfinished event is kept as the list of its reads and
    joined only when a read could end it.
    """

    __slots__ = ("_parts", "_size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Event]:
        """Every event that is whole now."""
        if self._parts:
            data = self._joined(data)
        held = b""
        if b"\r" in data:
            data, held = _plain(data)
        blocks = data.split(b"\n\n")
        rest = blocks.pop() + held
        if rest:
            self._keep(rest)
        return _events(blocks) if blocks else []

    def end(self) -> list[Event]:
        """The last event, when the stream ended without the blank line after it."""
        rest, self._parts, self._size = b"".join(self._parts), [], 0
        return _events([rest.replace(b"\r", b"\n")])

    def _keep(self, rest: bytes) -> None:
        self._parts.append(rest)
        self._size += len(rest)
        if self._size > MAX_EVENT_BYTES:
            raise malformed(f"an event of more than {MAX_EVENT_BYTES} bytes")

    def _joined(self, data: bytes) -> bytes:
        """What is kept and what has come, when that may hold an end; else nothing, and it is kept."""
        if b"\n" not in data and b"\r" not in data and not self._parts[-1].endswith(b"\r"):
            self._keep(data)
            return b""
        self._parts.append(data)
        data, self._parts, self._size = b"".join(self._parts), [], 0
        return data


def _plain(data: bytes) -> tuple[bytes, bytes]:
    """The same with LF alone as the line end; a CR at the very end is held back, since its LF may follow."""
    held = b"\r" if data.endswith(b"\r") else b""
    if held:
        data = data[:-1]
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"), held


def _events(blocks: list[bytes]) -> list[Event]:
    """The events of whole blocks. A block without data, such as a comment, is none."""
    events: list[Event] = []
    for block in blocks:
        if block.startswith(b"data: ") and b"\n" not in block:
            events.append((b"", block[6:]))
        elif block:
            event = _parsed(block)
            if event is not None:
                events.append(event)
    return events


def _parsed(block: bytes) -> Event | None:
    """One block with more than a single data line."""
    name = b""
    lines: list[bytes] = []
    for line in block.removeprefix(_BOM).split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return (name, b"\n".join(lines)) if lines else None
