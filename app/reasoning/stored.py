"""What a finished race leaves to be told again."""

import re
from typing import Final

from app.answers.answer import Answer, Said
from app.question import Key
from app.record.entry import Closing, LaneRecord

# Quotes inside a text are escaped, so that only a field's own name looks like this.
_COST: Final = re.compile(rb'"cost_usd":(?:null|[-+.0-9e]+)')


def worth_keeping(closing: Closing) -> bool:
    """Only a verified answer that was asked live is given again: none that is partial, failed or cut."""
    opening = closing.opening
    asked = opening.question.cache != "off" and opening.source == "live"
    return asked and closing.status == "completed" and closing.verified


def answer_of(closing: Closing, key: Key, expires_at: float) -> Answer:
    """The answer in it; expires_at in Unix time. It is as old as its question: the last one asked replaces others."""
    assert closing.change is not None, "a verified run has a final"
    assert closing.latency_ms is not None, "a run that ended here took its time"
    log = closing.log
    events = log[log.index(b"\n\n") + 2 : log.rindex(b"event: done\n")]
    return Answer(
        scope=key.scope,
        fingerprint=key.fingerprint,
        run_id=closing.opening.run_id,
        created_at=closing.opening.created_at.timestamp(),
        expires_at=expires_at,
        lanes={lane: _said(record) for lane, record in closing.lanes.items()},
        agreement=closing.agreement,
        change=closing.change,
        usage=closing.usage,
        cost_nano=closing.cost_nano,
        latency_ms=closing.latency_ms,
        events=_COST.sub(b'"cost_usd":0.0', events),
        at_ms=closing.at_ms[1:-1],
    )


def _said(record: LaneRecord) -> Said:
    return Said(record.model, record.text, record.thinking, record.finish_reason, record.end)
