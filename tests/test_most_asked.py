"""Which questions are worth asking before anybody does."""

from datetime import timedelta
from typing import Any

import entries
from filing import do, filed
from msgspec.structs import replace

from app.postgres.pool import Pool
from app.postgres.questions import most_asked
from app.postgres.runs import RunStore
from app.question import Labels
from app.record.entry import Closing, ContentNote


def _asked(at_s: float, text: str, caller: str = "me", content: ContentNote | None = None, **changes: Any) -> Closing:
    """A question that was asked and answered, its text for a fingerprint."""
    question = replace(entries.question(text, Labels("e", prompt_class="faq")), **changes.pop("question", {}))
    start = entries.opening(at_s, caller, question=question, fingerprint=text, **changes)
    note = content or ContentNote()
    return entries.closing(start, content=note)


async def _most(pool: Pool, caller: str | None = None, since_s: float = 0.0, limit: int = 10) -> list[tuple[str, int]]:
    """The fingerprints and how often each was asked."""
    found = await most_asked(pool, caller, entries.EPOCH + timedelta(seconds=since_s), limit)
    return [(one["fingerprint"], one["asked"]) for one in found]


async def test_every_way_of_asking_counts(run_store: RunStore, pool: Pool) -> None:
    """Live runs, replays and attached requests count alike, the most asked first, of one caller or all, since then."""
    often = [_asked(1, "often"), _asked(2, "often", source="cache"), _asked(3, "once"), _asked(4, "yours", "you")]
    guests = [entries.attachment(often[0].opening, at, "me") for at in (5, 6)]
    await run_store.write(filed(*often, *guests, _asked(7, "made", source="import")))
    assert await _most(pool) == [("often", 4), ("yours", 1), ("once", 1)]
    assert await _most(pool, "me") == [("often", 4), ("once", 1)]
    assert (await _most(pool, "you"), await _most(pool, limit=1)) == ([("yours", 1)], [("often", 4)])
    assert await _most(pool, since_s=2.5) == [("yours", 1), ("once", 1)]
    assert (await _most(pool, since_s=4.0), await _most(pool, since_s=-1e10)) == ([("yours", 1)], await _most(pool))


async def test_a_question_comes_as_it_was_asked_last(run_store: RunStore, pool: Pool) -> None:
    """What is needed to ask again is that of the newest run: messages, parameters, policy, labels, caller."""
    newest = _asked(2, "q", question={"deadline_s": 9.0})
    await run_store.write(filed(newest, _asked(1, "q")))
    (found,) = await most_asked(pool, None, entries.EPOCH, 10)
    assert found["messages"] == [{"role": "user", "content": "q"}]
    assert (found["parameters"]["deadline_s"], found["parameters"]["slow"]["model"]) == (9.0, "scripted:slow")
    assert found["labels"] == {"experiment": "e", "variant": None, "prompt_class": "faq", "tags": []}
    assert (found["caller"], found["policy"], found["asked"]) == ("me", "race", 2)


async def test_what_is_not_kept_whole_is_never_asked_again(run_store: RunStore, pool: Pool, dsn: str) -> None:
    """Questions that were masked, cut, repaired or hashed, asked without the cache or not kept are left out."""
    notes = [
        ContentNote("redacted"), ContentNote("full", {"email": 1}), ContentNote("full", {}, ("messages.0",)),
        ContentNote("full", {}, (), 2), ContentNote("hash_only"),
    ]  # fmt: skip
    spoilt = [_asked(at, f"spoilt {at}", content=note) for at, note in enumerate(notes)]
    off = _asked(8, "kept", question={"cache": "off"})
    await run_store.write(filed(*spoilt, off, _asked(7, "kept"), _asked(9, "gone")))
    await do(dsn, "DELETE FROM run_payloads WHERE question::text LIKE '%gone%'")
    assert await _most(pool) == [("kept", 1)]
