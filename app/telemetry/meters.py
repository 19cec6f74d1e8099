"""What is counted as it happens: requests at the edge, runs and their lanes when they end; nothing per delta."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from app.events import LaneEnd
from app.question import LANES, Key
from app.record.entry import Closing
from app.telemetry.labels import Codes, Models, method_label, status_label
from app.telemetry.tallies import About, Family, Reading, Tallies

REQUEST_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)  # few: each is a line of every route
FIRST_TOKEN_S: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0)
TOTAL_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0)
NANO: Final = 1e-9

_STATUSES: Final = ("completed", "partial", "timeout", "failed", "cancelled", "shutdown")
_SOURCES: Final = ("live", "cache")
_BROKEN: Final = ("timeout", "failed")  # ends of a run that are nobody's wish
_UNTIMED: Final = ("cancelled", "shutdown")  # ends that say nothing of how long a run takes
_TIMED: Final = ("completed", "timeout")  # ends of a lane that tell how long it takes, or that it takes longer
_TOKENS: Final = ("input", "output", "thinking", "cached")
_REQUEST: Final = ("method", "route", "status")
_LANE: Final = ("lane", "provider", "model")


class Meters:
    """Belongs to one event loop. models: their labels; policies: which there are; clock: monotonic, in seconds."""

    def __init__(self, models: Models, policies: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._models = models
        self._codes = Codes()
        self.in_flight: dict[tuple[str, ...], int] = {}
        self.tallies = Tallies(clock)
        count, times, self._turn = self.tallies.count, self.tallies.times, self.tallies.windows.turn
        self._requests = count("http_requests_total", "Requests that ended.", *_REQUEST)
        self._request_s = times("http_request_duration_seconds", "To the end of the answer.", _REQUEST[:2], REQUEST_S)
        self._questions = count("tandem_questions_total", "Questions accepted, by what answers them.", "source")
        self._refusals = count("tandem_refusals_total", "Requests refused.", "code")
        self._errors = count("errors_total", "Requests refused with 5xx, runs failed or timed out.", "where", "code")
        self._runs = count("tandem_runs_total", "Runs that ended.", "status", "policy", "source")
        self._run_s = times("tandem_run_duration_seconds", "Runs that nobody cancelled.", ("policy", "source"), TOTAL_S)
        self._events = count("tandem_events_total", "Events in the logs of runs.", "event")
        self._outcomes = count("tandem_lane_outcomes_total", "Lanes that ended.", *_LANE, "outcome", "reason")
        self._first_s = times("tandem_time_to_first_token_seconds", "Since the lane began.", _LANE, FIRST_TOKEN_S)
        self._lane_s = times("tandem_lane_duration_seconds", "Lanes that completed or timed out.", _LANE, TOTAL_S)
        self._timeouts = count("timeouts_total", "Lanes that timed out.", "lane", "reason")
        self._tokens = count("tandem_tokens_total", "Tokens, as far as known.", *_LANE, "kind")
        self._cost = count("tandem_cost_usd_total", "US dollars, as far as known.", *_LANE, scale=NANO)
        self._unpriced = count("tandem_unpriced_lanes_total", "Lanes that used tokens at an unknown price.", *_LANE)
        for labels in ((status, policy, source) for status in _STATUSES for policy in policies for source in _SOURCES):
            _ = self._runs[labels]  # at 0, so that a first failure is a rise

    # -- at the edge

    def began(self, method: str, route: str) -> None:
        """A request came."""
        place = (method_label(method), route)
        self.in_flight[place] = self.in_flight.get(place, 0) + 1

    def ended(self, method: str, route: str, status: int | None, seconds: float) -> None:
        """It is over; status is None when the client left before it had one."""
        method, told = method_label(method), status_label(status)
        self.in_flight[method, route] -= 1
        self._turn()
        self._requests[method, route, told].add()
        self._request_s[method, route].observe(seconds * 1000)

    def asked(self, source: str) -> None:
        """A question was accepted: `live`, `attached` or `cache`."""
        self._turn()
        self._questions[(source,)].add()

    def refused(self, code: str, status: int) -> None:
        """A request was refused."""
        self._turn()
        told = self._codes.label(code)
        self._refusals[(told,)].add()
        if status >= 500:
            self._errors["request", told].add()

    # -- at the end of a run

    def keep(self, closing: Closing, key: Key) -> None:  # noqa: ARG002  # as Keep in reasoning/runs.py has it
        """A run has ended."""
        self._turn()
        opening, status = closing.opening, closing.status
        policy, source = opening.question.policy, opening.source
        self._runs[status, policy, source].add()
        if status in _BROKEN:
            self._errors["run", self._codes.label(closing.reason)].add()
        if closing.latency_ms is not None and status not in _UNTIMED:
            self._run_s[policy, source].observe(closing.latency_ms)
        self._count_events(closing)
        if source == "live":  # a replay's lanes asked no model
            for lane in LANES:
                if lane in closing.lanes:
                    self._lane((lane, *self._models.labels(opening.question.lane(lane).model)), closing.lanes[lane].end)

    def _count_events(self, closing: Closing) -> None:
        """By name, without a look at the log."""
        fast, ends = closing.lanes.get("fast"), len(closing.lanes)
        shown, final = fast is not None and fast.end.outcome == "completed", closing.final_lane is not None
        others = 2 + ends + shown + final
        deltas = max(0, len(closing.at_ms) - others)
        named = {"start": 1, "delta": deltas, "preliminary": shown, "lane_end": ends, "final": final, "done": 1}
        for event, count in named.items():
            if count:
                self._events[(event,)].add(count)

    def _lane(self, lane: tuple[str, str, str], end: LaneEnd) -> None:
        reason = self._codes.label(end.reason)
        self._outcomes[*lane, end.outcome, reason].add()
        if end.ttft_ms is not None:
            self._first_s[lane].observe(end.ttft_ms)
        if end.outcome in _TIMED:
            self._lane_s[lane].observe(end.latency_ms)
        if end.outcome == "timeout":
            self._timeouts[lane[0], reason].add()
        usage = end.usage
        counts = (usage.input_tokens, usage.output_tokens, usage.thinking_tokens, usage.cached_tokens)
        for kind, count in zip(_TOKENS, counts, strict=True):
            if count:
                self._tokens[*lane, kind].add(count)
        if end.cost_usd is not None:
            self._cost[lane].add(round(end.cost_usd / NANO))
        elif usage.source != "unknown":
            self._unpriced[lane].add()

    # -- told

    def families(self) -> list[Family]:
        """Everything, the requests of now first."""
        about = About("http_requests_in_progress", "Requests now.", ("method", "route"))
        return [Reading(about, self.in_flight.copy()), *self.tallies.families]
