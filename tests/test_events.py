"""Events on the wire, as the protocol's section on framing says."""

import json
import re
from typing import Any, Final, get_args

import msgspec
from cells import rows
from msgspec.structs import replace

from app.events import (
    FOLLOWS,
    NAMES,
    PING,
    Agreement,
    Done,
    EventName,
    FinalAnswer,
    LaneEnd,
    Payload,
    Preliminary,
    Start,
    Usage,
    clean,
    delta_frames,
    dump,
    frame,
    parse,
)
from app.reasoning.log import split

RUN: Final = "01890000-0000-7000-8000-000000000000"
START: Final = Start(RUN, "race", {"fast": {"model": "a:b"}, "slow": {"model": "c:d"}}, 50_000, "durable")
USAGE: Final = Usage(3, 5, None, None, "reported")
DONE: Final = Done("completed", "slow", True, None, USAGE, None, 93.1, False, "f" * 64, "pending")
PAYLOADS: Final[list[Payload]] = [
    START,
    Preliminary("fast", "Paris", "stop", 12.5, 80.0, USAGE, None),
    LaneEnd("slow", "timeout", "idle_timeout", "no further token", True, 3.0, 9.9, USAGE, 0.25, "v1"),
    FinalAnswer("slow", True, "Paris", Agreement("agree", "exact", 1, None), "confirmed"),
    DONE,
]

# (what a model says, what a client reads).
TEXTS: Final[list[tuple[str, str]]] = [
    ("", ""),
    ("plain", "plain"),
    ('"quoted" \\ back / slash', '"quoted" \\ back / slash'),
    ("one\ntwo\r\nthree\rfour\n\n", "one\ntwo\r\nthree\rfour\n\n"),
    ("data: x\n\nevent: done\n\n: ping\n", "data: x\n\nevent: done\n\n: ping\n"),
    ("tab\t bell\x07 escape\x1b delete\x7f", "tab\t bell\x07 escape\x1b delete\x7f"),
    ("NUL \x00 and \x00\x00", "NUL \ufffd and \ufffd\ufffd"),
    ("lines \u2028 \u2029 \x85 \x0b \x0c \x1c", "lines \u2028 \u2029 \x85 \x0b \x0c \x1c"),
    ("high \ud800 low \udfff", "high \ufffd low \ufffd"),
    ("reversed \udc00\ud800", "reversed \ufffd\ufffd"),
    ("a pair in halves \ud83d\ude00", "a pair in halves \U0001f600"),
    ("pair and lone \ud83d\ude00\ud83d", "pair and lone \U0001f600\ufffd"),
    ("lone before pair \ud83d\U0001f600\x00", "lone before pair \ufffd\U0001f600\ufffd"),
    ("the words \\u0000 and \\ud800", "the words \\u0000 and \\ud800"),
    ("both \\u0000 and \x00", "both \\u0000 and \ufffd"),
    ("Ünïcödé 漢字 עברית \U0001f468\u200d\uffff\U0010ffff", "Ünïcödé 漢字 עברית \U0001f468\u200d\uffff\U0010ffff"),
    ("\ufeffmark first", "\ufeffmark first"),
    ("x" * 70_000 + "\u2028", "x" * 70_000 + "\u2028"),
]
LINE_ENDS: Final = re.compile("[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


def hold_framing(block: bytes, name: str, seq: int) -> dict[str, Any]:
    """Hold one event against every rule of the framing and return its data."""
    text = block.decode("ascii")
    assert text.endswith("\n\n")
    assert text.count("\n\n") == 1
    assert not LINE_ENDS.search(text)
    assert "\x00" not in text
    lines = text[:-2].split("\n")
    assert text[:-2].splitlines() == lines, "a client that uses splitlines() sees other lines"
    fields = [line.partition(": ")[0] for line in lines]
    assert fields == (["event", "retry", "id", "data"] if name == "start" else ["event", "id", "data"])
    assert lines[0] == f"event: {name}"
    assert lines[-2] == f"id: {RUN}:{seq}"
    data: dict[str, Any] = json.loads(lines[-1].removeprefix("data: "))
    return data


@rows("payload", PAYLOADS)
def test_framing(payload: Payload) -> None:
    """Every event is its name, its id, one line of ASCII data and a blank line, ended by LF alone."""
    data = hold_framing(frame(RUN, 17, payload), NAMES[type(payload)], 17)
    assert data == msgspec.to_builtins(payload)


@rows("payload", PAYLOADS)
def test_parse_reads_what_frame_wrote(payload: Payload) -> None:
    """A reader that re-encodes a log gets back name, number and every field."""
    assert parse(frame(RUN, 3, payload)) == (NAMES[type(payload)], 3, msgspec.to_builtins(payload))


@rows(("text", "read"), TEXTS)
def test_texts_in_a_whole_answer(text: str, read: str) -> None:
    """Whatever a model says, an answer stays one valid event and loses no more than NUL and lone surrogates."""
    payload = FinalAnswer("slow", True, text, None, "unopposed")
    assert hold_framing(frame(RUN, 4, payload), "final", 4)["text"] == read


@rows(("text", "read"), TEXTS)
def test_texts_in_a_delta(text: str, read: str) -> None:
    """A delta carries the same text as the answer it is part of."""
    block = delta_frames(RUN, 9, "fast", "answer", [clean(text)])[0].encode("ascii")
    assert hold_framing(block, "delta", 9) == {"lane": "fast", "kind": "answer", "text": read}
    assert parse(block) == ("delta", 9, {"lane": "fast", "kind": "answer", "text": read})


@rows(("text", "read"), TEXTS)
def test_clean_is_stable(text: str, read: str) -> None:
    """Cleaning twice is cleaning once, and what is clean can be stored as UTF-8."""
    assert clean(clean(text)) == clean(text) == read
    clean(text).encode("utf-8")


def test_every_code_point_below_the_astral_planes() -> None:
    """No character of the basic plane, before or after any ASCII, breaks an event or comes out as another."""
    for first in range(0, 0x10000, 0x100):
        text = "".join(f"a{chr(point)}" for point in range(first, first + 0x100))
        block = delta_frames(RUN, 0, "slow", "thinking", [clean(text)])[0].encode("ascii")
        assert hold_framing(block, "delta", 0)["text"] == clean(text)
        assert json.loads(dump({"text": text})) == {"text": clean(text)}


def test_every_string_of_an_event_is_cleaned() -> None:
    """Names and messages are held to the same rule as answers, keys included."""
    assert json.loads(dump({"a\x00": ["\ud800", {"b": "\x00"}]})) == {"a\ufffd": ["\ufffd", {"b": "\ufffd"}]}
    start = replace(START, lanes={"fast": {"model": "x\udc00"}, "slow": {"model": "\x00"}})
    lanes = hold_framing(frame(RUN, 0, start), "start", 0)["lanes"]
    assert lanes == {"fast": {"model": "x\ufffd"}, "slow": {"model": "\ufffd"}}


def test_an_unknown_number_is_null() -> None:
    """A number that is not known is null on the wire, never left out and never 0."""
    data = hold_framing(frame(RUN, 5, replace(DONE, usage=Usage())), "done", 5)
    assert data["usage"] == {
        "input_tokens": None,
        "output_tokens": None,
        "thinking_tokens": None,
        "cached_tokens": None,
        "source": "unknown",
    }
    assert data["cost_usd"] is None


def test_names_are_safe_for_eventsource() -> None:
    """No event bears a name that EventSource uses for its own events."""
    assert not set(get_args(EventName)) & {"error", "open", "message"}
    assert set(get_args(EventName)) == {*NAMES.values(), "delta"}


def test_follows_is_closed() -> None:
    """The table names every event and nothing else; each can be reached, `done` from each, and nothing follows it."""
    names = set(get_args(EventName))
    assert set(FOLLOWS) == {None, *names}
    assert set().union(*FOLLOWS.values()) == names
    assert FOLLOWS[None] == {"start"}
    assert FOLLOWS["done"] == frozenset()
    assert all("start" not in after for name, after in FOLLOWS.items() if name is not None)
    for name in names - {"done"}:
        reached: set[str] = set()
        edge = set(FOLLOWS[name])
        while edge:
            reached |= edge
            edge = set().union(*(FOLLOWS[each] for each in edge)) - reached
        assert "done" in reached


def test_only_a_lane_end_follows_the_preliminary() -> None:
    """The preliminary comes right before the fast lane's end, and only `done` after `final`."""
    assert FOLLOWS["preliminary"] == {"lane_end"}
    assert FOLLOWS["final"] == {"done"}


def test_retry_travels_inside_start() -> None:
    """`retry:` is a line of `start` and of no other event, so that it never stands alone."""
    assert [b"\nretry: 2000\n" in frame(RUN, 0, payload) for payload in PAYLOADS] == [True] + [False] * 4


def test_ping_is_one_comment_and_one_line_end() -> None:
    """A keep-alive has a single newline: a blank line after it makes clients deliver an empty event."""
    assert PING == b": ping\n"


def test_split_undoes_joining() -> None:
    """A log is cut into exactly the events that were joined, whatever their texts contain."""
    blocks = [frame(RUN, 0, START)]
    texts = [clean(text) for text, _ in TEXTS]
    blocks += [block.encode() for block in delta_frames(RUN, 1, "fast", "answer", texts)]
    assert list(split(b"".join(blocks))) == blocks
    assert list(split(b"")) == []
