"""Regret: how often the slow answer was needed, and how often it did harm."""

import pytest

from app.experiments.regret import regret


def test_regret() -> None:
    """Regret is what the fast answer alone would have cost, reverse regret what the slow one alone would."""
    found = regret(both=50, fast_only=10, slow_only=30, neither=10)
    assert found.n == 100
    assert [s.share for s in (found.fast_correct, found.slow_correct)] == pytest.approx([0.6, 0.8])
    assert [s.share for s in (found.regret, found.reverse)] == pytest.approx([0.3, 0.1])
