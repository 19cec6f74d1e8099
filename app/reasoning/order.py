"""A question as it was asked: by whom, what its answer is found by, and as which run it will be known."""

from datetime import UTC, datetime

import msgspec
from uuid_utils import UUID, uuid7

from app.admission.gate import FREE, Pass
from app.question import KEEPING_TEXTS, Caller, Key, Question
from app.reasoning.log import Source
from app.record.entry import Attachment, ContentNote, Opening


def new_id() -> str:
    """A UUIDv7, which has the time in it."""
    return str(uuid7())


def time_of(identity: str) -> datetime:
    """The time inside a UUIDv7, to the millisecond."""
    return datetime.fromtimestamp(UUID(identity).timestamp / 1000, UTC)


class Order(msgspec.Struct, frozen=True):
    """What the registry opens a run for. idempotency_key: the SHA-256, in hex, of what the caller gave.

    admitted: the pass its race runs on; whoever opens a run settles it.
    """

    question: Question
    caller: Caller
    key: Key
    idempotency_key: str | None = None
    admitted: Pass = FREE
    run_id: str = msgspec.field(default_factory=new_id)

    @property
    def may_be_shown(self) -> bool:
        """Whether its texts may be where other instances see them."""
        return self.caller.grant.content in (None, *KEEPING_TEXTS)

    def opening(self, instance: str, source: Source = "live", source_run_id: str | None = None) -> Opening:
        """What is written down when its run begins on that instance."""
        return Opening(
            run_id=self.run_id,
            created_at=time_of(self.run_id),
            caller=self.caller.id,
            fingerprint=self.key.fingerprint,
            question=self.question,
            source=source,
            instance=instance,
            source_run_id=source_run_id,
            idempotency_key=self.idempotency_key,
            content=ContentNote(self.caller.grant.content or "full"),
        )

    def attachment(self, run_id: str, instance: str) -> Attachment:
        """What is written down when it shares that run instead of having one of its own."""
        request_id = new_id()
        return Attachment(
            request_id=request_id,
            created_at=time_of(request_id),
            run_id=run_id,
            caller=self.caller.id,
            fingerprint=self.key.fingerprint,
            labels=self.question.labels,
            instance=instance,
            idempotency_key=self.idempotency_key,
            mode=self.caller.grant.content or "full",
        )
