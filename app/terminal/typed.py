"""What people type or pipe in: UTF-8 whatever the locale says, with or without a byte order mark."""

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import Final, TextIO

from app.errors import MalformedRequest

UTF8: Final = "utf-8-sig"
STANDARD_INPUT: Final = "standard input"


def standard_input() -> TextIO:
    """Standard input as text."""
    return io.TextIOWrapper(sys.stdin.buffer, encoding=UTF8)


@contextlib.contextmanager
def text_of(source: str) -> Iterator[None]:
    """Bytes of this source that are no text are refused."""
    try:
        yield
    except UnicodeError:
        raise MalformedRequest(f"{source}: is no UTF-8 text") from None
