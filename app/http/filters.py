"""The query parameters that the questions about the past share, every one checked."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final, Self

from fastapi import Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from app.errors import MalformedRequest, Outcome
from app.experiments.list import Filters, Source, State, Verdict
from app.experiments.rollup import Selection
from app.http.given import given
from app.http.parts import Mask
from app.question import Caller

_NUMBER: Final = re.compile(r"[\s+-]*[\d.]+\s*")
_LOST_PLUS: Final = re.compile(r"(:\d\d(?:\.\d+)?) (\d\d:?\d\d)\Z")


def _in_utc(moment: datetime) -> datetime:
    """The moment in UTC; one without a zone is meant so."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is not a moment between the years 1 and 9999") from None


def _written_out(text: object) -> object:
    """The `+` of an offset from UTC, which means a space in a query and is easily sent so, put back; no bare number.

    A year or a day without hyphens would be taken for seconds since 1970.
    """
    if isinstance(text, str) and _NUMBER.fullmatch(text):
        raise ValueError("is a number, not a moment as 2026-01-31 or 2026-01-31T12:00:00Z")
    return _LOST_PLUS.sub(r"\1+\2", text) if isinstance(text, str) else text


Moment = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]

_LABELS: Final = frozenset({"experiment", "variant", "prompt_class", "tag"})
_LABEL: Final = Field(description="The label that the question was asked with")
_MODEL: Final = Field(description="`provider:model`; of either lane, in a deadline curve of the lane it is about")
_SOURCE: Final = Field(description="Asked live, replayed from the cache, or imported")

GivenMask = Annotated[Mask, given("mask")]


class SpanQuery(BaseModel):
    """From when until when, and of which class; an unknown parameter is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")

    since: Annotated[Moment | None, Field(description="From then on; ISO 8601, without an offset UTC is meant")] = None
    until: Annotated[Moment | None, Field(description="Before then")] = None
    prompt_class: Annotated[str | None, _LABEL] = None

    def as_kept(self, mask: Mask, caller: Caller) -> Self:
        """The same, its labels as the record has them."""
        labels = {name: getattr(self, name) for name in _LABELS & self.model_fields_set}
        return self.model_copy(
            update={name: mask(label, caller.grant.content) for name, label in labels.items() if label is not None}
        )


class FilterQuery(SpanQuery):
    """Which records are meant."""

    status: Annotated[State | None, Field(description="How the run ended, or `running`")] = None
    outcome: Annotated[Outcome | None, Field(description="How either lane ended")] = None
    experiment: Annotated[str | None, _LABEL] = None
    variant: Annotated[str | None, _LABEL] = None
    model: Annotated[str | None, _MODEL] = None
    source: Annotated[Source | None, _SOURCE] = None
    agreement: Annotated[Verdict | None, Field(description="The verdict on the two answers")] = None
    min_latency_ms: Annotated[
        float | None, Field(ge=0, allow_inf_nan=False, description="The whole run took at least so many milliseconds")
    ] = None
    tag: Annotated[str | None, Field(description="One of the run's tags")] = None

    def filters(self) -> Filters:
        """The same for the list."""
        return Filters(**self.model_dump(include=set(FilterQuery.model_fields)))


class SelectionQuery(SpanQuery):
    """Which runs a statistic is about."""

    experiment: Annotated[str | None, _LABEL] = None
    variant: Annotated[str | None, _LABEL] = None
    model: Annotated[str | None, _MODEL] = None
    policy: Annotated[str | None, Field(description="Of the question")] = None
    source: Annotated[Source | None, _SOURCE] = None

    def selection(self) -> Selection:
        """The same for the statistics."""
        return Selection(**self.model_dump(include=set(SelectionQuery.model_fields)))


async def once(request: Request) -> None:
    """Refuse a parameter that was given twice: of two, either could be meant."""
    names = [name for name, _ in request.query_params.multi_items()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise MalformedRequest(f"{twice[:64]}: a query parameter was given twice")
