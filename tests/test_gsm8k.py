"""The ladder and the statistics on 1,319 real pairs of answers, where the data are there."""

import gzip
import json
import os
from pathlib import Path
from typing import Any, Final

import pytest

from app.agreement import compare
from app.experiments.ranking import DOUBT, auroc
from app.experiments.regret import regret

_FOLDER: Final = Path(os.environ.get("TANDEM_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
_FILE: Final = _FOLDER / "gsm8k_pairs.jsonl.gz"

pytestmark = pytest.mark.skipif(not _FILE.exists(), reason=f"{_FILE.name} is not there; set TANDEM_TEST_DATA")


@pytest.fixture(scope="module")
def pairs() -> list[dict[str, Any]]:
    """The questions with both answers and whether each is correct."""
    with gzip.open(_FILE, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def verdicts(pairs: list[dict[str, Any]]) -> list[str]:
    """What the ladder says of each pair."""
    return [compare(pair["fast_text"], pair["slow_text"]).verdict for pair in pairs]


def test_share_of_agreement(verdicts: list[str]) -> None:
    """Three of five pairs agree."""
    assert len(verdicts) == 1319
    assert verdicts.count("agree") / len(verdicts) == pytest.approx(0.601, abs=0.005)


def test_disagreement_predicts_errors(pairs: list[dict[str, Any]], verdicts: list[str]) -> None:
    """The verdict tells wrong fast answers from right ones."""
    found = auroc((DOUBT[verdict], not pair["fast_correct"]) for verdict, pair in zip(verdicts, pairs, strict=True))
    assert found.value is not None
    assert found.value >= 0.93
    assert (found.n, found.positives) == (1319, 477)


def test_correctness_and_regret(pairs: list[dict[str, Any]]) -> None:
    """The shares of correct answers and of regret are those of the data."""
    both = [(pair["fast_correct"], pair["slow_correct"]) for pair in pairs]
    found = regret(*(both.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))))
    shares = [share.share for share in (found.fast_correct, found.slow_correct, found.regret, found.reverse)]
    assert shares == pytest.approx([0.6384, 0.8567, 0.290, 0.072], abs=5e-4)
