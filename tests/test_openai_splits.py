"""An answer comes to the same wherever its bytes are split."""

from collections.abc import Iterable

import pytest
from cells import rows
from fake_openai import DONE, event, say
from openai_dialects import COUNT, DIALECTS, HI, Told, told

from app.errors import ModelError
from app.llm.model import Item, Pieces
from app.llm.reading import Reading
from app.llm.sse import MAX_EVENT_BYTES, Cutter


def fold(parts: Iterable[bytes]) -> Told:
    """What a body comes to that arrives in these reads."""
    cutter, reading = Cutter(), Reading()
    items: list[Item] = []
    for part in parts:
        if not reading.ended:
            items += reading.take(cutter.feed(part))
    if not reading.ended:
        items += reading.last(cutter.end())
    return told(items, reading.failure)


@rows("name", DIALECTS)
def test_dialect(name: str) -> None:
    """A dialect comes to the same answer in one read, split in two at any byte, and byte by byte."""
    body, expected = DIALECTS[name]
    assert fold([body]) == expected
    step = 1 if len(body) < 5000 else 997
    for cut in range(0, len(body), step):
        assert fold([body[:cut], body[cut:]]) == expected, cut
    assert fold(body[i : i + step] for i in range(0, len(body), step)) == expected


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_three_reads(newline: bytes) -> None:
    """A short stream comes to the same answer split in three at any two bytes, whatever its line end."""
    body = b': p\n\ndata: {"choices":[{"delta":{"content":"\xc3\xa9"},\ndata: "finish_reason":"stop"}]}\n\n' + DONE
    body = body.replace(b"\n", newline)
    for first in range(len(body)):
        for second in range(first, len(body)):
            assert fold([body[:first], body[first:second], body[second:]]) == Told("é", finish="stop")


def test_one_item_a_read() -> None:
    """All pieces of one read come together."""
    items = Reading().take(Cutter().feed(HI * 10))
    assert len(items) == 1
    assert isinstance(items[0], Pieces)
    assert len(items[0].texts) == 20


def test_usage_is_told_once() -> None:
    """A usage that is repeated in every chunk is yielded only when it changes."""
    reading, cutter = Reading(), Cutter()
    same = event(say("a") | {"usage": COUNT})
    counts = [len(reading.take(cutter.feed(same))) for _ in range(3)]
    assert counts == [2, 1, 1]


def test_an_endless_event() -> None:
    """An event that does not end is given up at 1 MiB."""
    cutter = Cutter()
    for _ in range(MAX_EVENT_BYTES // 65536):
        cutter.feed(b"x" * 65536)
    with pytest.raises(ModelError, match="1048576"):
        cutter.feed(b"x")
