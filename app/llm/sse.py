"""Cut what arrived from upstream into whole server-sent events, wherever the reads happened to split them."""

from typing import Final

from app.llm.failures import malformed

MAX_EVENT_BYTES: Final = 1 << 20

_BOM: Final = b"\xef\xbb\xbf"
_DATA: Final = b"data: "
_NEXT: Final = b"\n\ndata: "

# The name of an event (empty when it has none) and its data.
Event = tuple[bytes, bytes]


class Cutter:
    """Holds the beginning of an event until its end arrives; one per stream.

    A read of whole events, the usual case, is cut in one go. An unfinished event is kept as the list of its reads and
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
        if data.find(b"\r") >= 0:  # `in` makes and drops an exception before it looks
            data, held = _plain(data)
        whole, _, rest = data.rpartition(b"\n\n")
        rest += held
        if rest:
            self._keep(rest)
        return _events(whole) if whole else []

    def end(self) -> list[Event]:
        """The last event, when the stream ended without the blank line after it."""
        rest, self._parts, self._size = b"".join(self._parts), [], 0
        return _events(rest.replace(b"\r", b"\n"))

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


def _events(whole: bytes) -> list[Event]:
    """The events of whole blocks. A block without data, such as a comment, is none."""
    texts = whole.removeprefix(_DATA).split(_NEXT)
    if whole.startswith(_DATA) and b"".join(texts).find(b"\n") < 0:  # which is faster than to count lines
        return [(b"", text) for text in texts]  # each block is a single line of data
    parsed = (_parsed(block) for block in whole.split(b"\n\n"))
    return [event for event in parsed if event is not None]


def _parsed(block: bytes) -> Event | None:
    """What one block says, whatever its lines are."""
    name = b""
    lines: list[bytes] = []
    for line in block.removeprefix(_BOM).split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
        elif field == b"error":  # as llama.cpp tells of one
            name, lines = field, [value]
        elif field.startswith(b"{"):  # what gateways say is wrong, as if nobody had asked for a stream
            lines.append(line)
    return (name, b"\n".join(lines)) if lines else None
