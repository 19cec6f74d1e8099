"""The benches that take the database away; .ci/run kills servers and takes it away for real, with bench.chaos too."""

from bench.outages import FAULTS


def test_every_fault_is_told() -> None:
    """Every fault has a sentence that says what is wrong."""
    assert all(fault.__doc__ for fault in FAULTS.values())
