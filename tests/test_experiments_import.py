"""Recorded pairs of answers become runs, and the statistics read them."""

# ruff: noqa: F401, F811  # a fixture is imported by its name

import gzip
import json
import math
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cells import rows
from pasts import Site, past

from app.experiments.feedback import Feedback
from app.http.callers import LOCAL
from app.record.codec import digest, encode
from app.record.importing import Import, Imported, ImportRefused, read_file, read_lines
from app.record.store import Filed

AT = datetime(2026, 5, 1, tzinfo=UTC)
WANTED = Import(LOCAL, "imported", AT)
LINE = {"question": "2 + 2?", "fast_text": "It is 4.", "slow_text": "4", "fast_correct": True, "slow_correct": True}
DATA = Path(os.environ.get("TANDEM_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "gsm8k_pairs.jsonl.gz"


def imported(*lines: dict[str, Any]) -> list[Imported]:
    """The runs of these lines."""
    return list(read_lines((json.dumps(line).encode() for line in lines), WANTED))


def test_a_line_becomes_a_finished_run() -> None:
    """A run that is imported says so, both lanes completed, and what nobody measured is unknown."""
    (run,) = imported(LINE | {"class": "sums", "variant": "v", "slow_latency_ms": 900, "fast_model": "m:fast"})
    closing = run.closing
    assert (closing.opening.source, closing.status, closing.log, closing.at_ms) == ("import", "completed", b"", ())
    assert (closing.agreement.verdict if closing.agreement else None, closing.change) == ("agree", "confirmed")
    labels = closing.opening.question.labels
    assert (labels.experiment, labels.variant, labels.prompt_class) == ("imported", "v", "sums")
    assert math.isnan(closing.lanes["fast"].end.latency_ms)
    assert (closing.lanes["slow"].end.latency_ms, closing.cost_nano) == (900, None)
    assert run.feedback == {"fast_correct": True, "slow_correct": True}


def test_an_id_follows_from_the_line_and_the_experiment() -> None:
    """The same line is the same run, an equal line once more in a file another one, another experiment's too."""
    once, twice = ([run.closing.opening.run_id for run in imported(LINE, LINE | {"question": "?"})] for _ in range(2))
    assert once == twice
    assert len({run.closing.opening.run_id for run in imported(LINE, LINE, LINE)}) == 3
    (other,) = read_lines([json.dumps(LINE).encode()], Import(LOCAL, "other", AT))
    assert other.closing.opening.run_id not in once


@pytest.mark.parametrize("moment", [None, "2024-02-03T04:05:06.789Z"])
def test_an_id_is_a_uuid_of_version_7(moment: str | None) -> None:
    """The time in the id is that of the run: the line's own, or one of the day after the one that was given."""
    (run,) = imported(LINE if moment is None else LINE | {"created_at": moment})
    opening = run.closing.opening
    identity = uuid.UUID(opening.run_id)
    assert (identity.version, identity.variant) == (7, uuid.RFC_4122)
    assert identity.int >> 80 == round(opening.created_at.timestamp() * 1000)
    expected = AT.date() if moment is None else datetime.fromisoformat(moment).date()
    assert opening.created_at.date() == expected


@rows(
    ("line", "told"),
    [
        (b"nonsense", "line 2: JSON is malformed"), (b"[]", "line 2: Expected"),
        (b'{"question": "q", "fast_text": "f"}', "line 2: Object missing required field `slow_text`"),
        (json.dumps(LINE | {"fast_text": 4}).encode(), r"line 2: Expected `str`, got `int` - at `\$.fast_text`"),
        (json.dumps(LINE | {"question": "  "}).encode(), r"line 2: .*\$.question"),
        (json.dumps(LINE | {"colour": "red"}).encode(), "line 2: .*unknown field `colour`"),
        (json.dumps(LINE | {"fast_correct": 1}).encode(), r"line 2: Expected `bool \| null`"),
        (json.dumps(LINE | {"fast_latency_ms": -1}).encode(), r"line 2: .*\$.fast_latency_ms"),
        (json.dumps(LINE | {"slow_latency_ms": 1e17}).encode(), r"line 2: .*\$.slow_latency_ms"),
        (json.dumps(LINE | {"created_at": "2026-01-01T00:00:00"}).encode(), "line 2: created_at"),
        (b'{"question": "\xff"}', "line 2: "), (b'{"question": NaN}', "line 2: JSON is malformed"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_refused_by_its_number(line: bytes, told: str) -> None:
    """What is no pair of answers ends the import, and the error names the line and the field."""
    with pytest.raises(ImportRefused, match=told):
        list(read_lines([json.dumps(LINE).encode(), line], WANTED))


def test_a_file_may_be_compressed(tmp_path: Path) -> None:
    """A file gives the same runs plain and compressed, empty lines and a missing last line end notwithstanding."""
    text = f"{json.dumps(LINE)}\n\n{json.dumps(LINE | {'question': 'Why?'})}".encode()
    (tmp_path / "plain").write_bytes(text)
    (tmp_path / "packed").write_bytes(gzip.compress(text))
    plain, packed = (
        [encode(run.closing) for run in read_file(tmp_path / name, WANTED)] for name in ("plain", "packed")
    )
    assert plain == packed
    assert len(plain) == 2


async def keep(past: Site, runs: list[Imported]) -> int:
    """Write them as `tandem audit import` does; return how many were new."""
    fates = await past.store.write([Filed(run.closing, digest(encode(run.closing))) for run in runs])
    said = [(run.closing.opening.run_id, Feedback(*one)) for run in runs for one in run.feedback.items()]
    await past.reads.put_many(LOCAL, said)
    return fates.count("stored")


async def test_importing_twice_changes_nothing(past: Site) -> None:
    """The second time every run is a duplicate, and no feedback is new."""
    runs = imported(LINE, LINE | {"question": "?"})
    assert [await keep(past, runs) for _ in range(2)] == [2, 0]
    said = [(run.closing.opening.run_id, Feedback("fast_correct", True)) for run in runs]
    assert await past.reads.put_many(LOCAL, said) == 0
    assert len((await past.get("", source="import"))["experiments"]) == 2
    (record,) = (await past.get("", limit=1))["experiments"]
    assert record["lanes"]["fast"]["latency_ms"] is None


@pytest.mark.skipif(not DATA.exists(), reason="the recorded GSM8K pairs are not here (TANDEM_TEST_DATA)")
async def test_recorded_pairs_are_reported_as_published(past: Site) -> None:
    """Of 1,319 GSM8K questions the API reports who was right, how often both agreed, and the regret."""
    runs = list(read_file(DATA, Import(LOCAL, "gsm8k", AT)))
    for begin in range(0, len(runs), 100):
        assert await keep(past, runs[begin : begin + 100]) == len(runs[begin : begin + 100])
    total = (await past.get("/agreement", experiment="gsm8k"))["total"]
    shares = {name: round(total[name]["share"] * 100, 2) for name in ("fast_correct", "slow_correct")}
    assert (total["n"], shares) == (1319, {"fast_correct": 63.84, "slow_correct": 85.67})
    assert total["agree"]["share"] == pytest.approx(0.601, abs=0.005)
    assert total["auroc_disagree_for_fast_wrong"]["value"] >= 0.93
    assert total["regret"]["share"] == pytest.approx(0.290, abs=0.0005)
    assert total["reverse_regret"]["share"] == pytest.approx(0.072, abs=0.0005)
    assert total["regret"]["low"] < 0.29 < total["regret"]["high"]
    assert total["extra_wait_ms"] == {"n": 0, "mean": None, "p50": None, "p95": None}
