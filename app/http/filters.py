"""The query parameters that the questions about the past share, every one checked."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.errors import MalformedRequest, Outcome
from app.events import Status
from app.experiments.list import Filters, Source, Verdict
from app.experiments.rollup import Selection


def _in_utc(moment: datetime) -> datetime:
    """The moment in UTC; one without a zone is meant so."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is not a moment between the years 1 and 9999") from None


Moment = Annotated[datetime, AfterValidator(_in_utc)]


class SpanQuery(BaseModel):
    """From when until when, and of which class; an unknown parameter is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")

    since: Moment | None = None
    until: Moment | None = None
    prompt_class: str | None = None


class FilterQuery(SpanQuery):
    """Which records are meant."""

    status: Status | Literal["running"] | None = None
    outcome: Outcome | None = None
    experiment: str | None = None
    variant: str | None = None
    model: str | None = None
    source: Source | None = None
    agreement: Verdict | None = None
    min_latency_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    tag: str | None = None

    def filters(self) -> Filters:
        """The same for the list."""
        return Filters(**self.model_dump(include=set(FilterQuery.model_fields)))


class SelectionQuery(SpanQuery):
    """Which runs a statistic is about."""

    experiment: str | None = None
    variant: str | None = None
    model: str | None = None
    policy: str | None = None
    source: Source | None = None

    def selection(self) -> Selection:
        """The same for the statistics."""
        return Selection(**self.model_dump(include=set(SelectionQuery.model_fields)))


def once(request: Request) -> None:
    """Refuse a parameter that was given twice: of two, either could be meant."""
    names = [name for name, _ in request.query_params.multi_items()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise MalformedRequest(f"{twice[:64]}: a query parameter was given twice")
