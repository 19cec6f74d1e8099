"""Entries as log lines and back."""

import json
import random

import entries
import pytest

from app.record import codec
from app.record.replay import Replay, lines

CLOSING = entries.closing(log=random.Random(1).randbytes(200_000))
ENCODED = codec.encode(CLOSING)
DIGEST = codec.digest(ENCODED)
LINES = list(lines(CLOSING.opening.run_id, CLOSING.version, DIGEST, ENCODED))


def test_a_line_is_what_collectors_take() -> None:
    """Every line is one JSON object below 64 KiB that says which part of what it is."""
    assert all(len(line) < 64 * 1024 and "\n" not in line for line in LINES)
    heads = [json.loads(line) for line in LINES]
    assert [(head["part"], head["parts"]) for head in heads] == [(at + 1, 5) for at in range(5)]
    assert {(head["run_id"], head["digest"], head["version"]) for head in heads} == {
        (CLOSING.opening.run_id, DIGEST.hex(), 3)
    }


@pytest.mark.parametrize(
    "wrap",
    [
        lambda line: line,
        lambda line: "2026-01-01T00:00:00Z stdout F " + line + "\n",
        lambda line: json.dumps({"jsonPayload": json.loads(line), "severity": "INFO"}),
        lambda line: json.dumps({"textPayload": line}),
        lambda line: json.dumps({"log": line + "\n", "stream": "stdout"}),
    ],
    ids=["plain", "prefixed", "json payload", "text payload", "docker"],
)
def test_an_entry_comes_back_from_its_lines(wrap: object) -> None:
    """In any order, twice, among other lines and in a collector's wrapping, the entry comes back whole, once."""
    mixed = [wrap(line) for line in LINES * 2]  # type: ignore[operator]
    random.Random(2).shuffle(mixed)
    replay = Replay()
    found = [replay.feed(line) for text in mixed for line in ("noise", '{"tandem_audit"', text)]
    assert [filed for filed in found if filed is not None] == [(CLOSING, DIGEST)]
    assert replay.missing == []


def test_what_is_not_whole_is_told() -> None:
    """A lost line and a damaged one give no entry, and the replay says of which run."""
    replay = Replay()
    assert [replay.feed(line) for line in LINES[1:]] == [None] * 4
    assert [(one.run_id, one.seen, one.parts) for one in replay.missing] == [(CLOSING.opening.run_id, 4, 5)]
    damaged = json.loads(LINES[0]) | {"data": "AAAA"}
    assert replay.feed(json.dumps(damaged)) is None
    assert len(replay.missing) == 1
    assert replay.feed(LINES[0]) == (CLOSING, DIGEST)
