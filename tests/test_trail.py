"""What the work at hand belongs to: the request's ids, its trace as W3C writes it, the spans of its run."""

import asyncio

from cells import rows
from uuid_utils import uuid7

from app import trail
from app.trail import Trace, span_of, trace_of

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{PARENT}-01"


def test_a_trace_is_read_as_w3c_writes_it() -> None:
    """Ids, the sampled flag and the states of all headers are taken over; of a later version what we know of it."""
    assert trace_of([GOOD], ["a=1", "b=2"]) == Trace(TRACE, PARENT, True, "a=1,b=2")
    assert trace_of([GOOD[:-2] + "02"], []) == Trace(TRACE, PARENT, False, "")
    assert trace_of([f"01-{TRACE}-{PARENT}-01-more"], []) == Trace(TRACE, PARENT, True, "")


@rows(
    "parents",
    [
        [],
        [""],
        [GOOD, GOOD],
        [GOOD.upper()],
        [GOOD + "-more"],
        [GOOD + "x"],
        ["ff" + GOOD[2:]],
        [GOOD.replace(TRACE, "0" * 32)],
        [GOOD.replace(PARENT, "0" * 16)],
        [GOOD.replace("-", "_")],
        ["sk-live-0123456789"],
    ],
)
def test_what_is_no_trace_is_left_alone(parents: list[str]) -> None:
    """A header that is malformed, doubled or all zeros is as good as none."""
    assert trace_of(parents, ["a=1"]) is None


@rows("states", [["a=\x7f"], ["a=é"], ["a" * 513], ["a=1\r\nevil: 1"]])
def test_a_state_that_is_unfit_is_dropped(states: list[str]) -> None:
    """What could not be sent on in a header, or is too long, does not spoil the trace."""
    assert trace_of([GOOD], states) == Trace(TRACE, PARENT, True, "")


async def test_tasks_belong_to_the_request_that_started_them() -> None:
    """What a task is about goes on in those it starts, and not back to who started it."""
    trail.begin("mine", None)

    async def run() -> trail.Trail:
        """Another run."""
        trail.about("another")
        return await asyncio.create_task(_here())

    trail.about("first")
    assert await asyncio.create_task(run()) == trail.Trail("mine", None, "another")
    assert trail.here() == trail.Trail("mine", None, "first")


async def _here() -> trail.Trail:
    """What a task sees."""
    return trail.here()


def test_a_run_without_a_trace_is_one_of_its_own() -> None:
    """Its trace has the run's id, and its spans have ids of their own that nobody has to remember."""
    run_id = str(uuid7())
    assert trail.Trail("mine", None, run_id).trace_id == run_id.replace("-", "")
    assert trail.Trail("mine", Trace(TRACE, PARENT, True), run_id).trace_id == TRACE
    spans = {span_of(run_id), span_of(run_id, "lane/fast"), span_of(run_id, "lane/slow"), span_of(str(uuid7()))}
    assert len(spans) == 4
    assert all(len(span) == 16 and int(span, 16) for span in spans)
