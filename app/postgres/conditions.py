"""What is asked for, as the conditions of a query over many runs.

A condition that is not asked for is not in the statement: PostgreSQL may plan a prepared one for all values at once.
"""

from dataclasses import asdict
from typing import Final

from app.events import clean
from app.experiments.list import Filters
from app.experiments.rollup import Selection
from app.postgres.listing import Statement
from app.postgres.queries import QUERIES

_CONDITIONS: Final = {
    "since": "r.created_at >= {}",
    "until": "r.created_at < {}",
    "status": "r.status = {}",
    "outcome": "EXISTS (SELECT FROM legs AS x WHERE x.run_id = r.run_id AND x.outcome = {})",
    "experiment": "r.experiment = {}",
    "variant": "r.variant = {}",
    "prompt_class": "r.prompt_class = {}",
    "model": "EXISTS (SELECT FROM legs AS x WHERE x.run_id = r.run_id AND x.model = {})",
    "policy": "r.policy = {}",
    "source": "r.source = {}",
    "agreement": "r.agreement ->> 'verdict' = {}",
    "min_latency_ms": "r.latency_ms >= {}",
    "tag": "{} = ANY (r.tags)",
}
_OF_LANE: Final = {"model": "l.model = {}"}  # where a query is about one lane, which it calls l
_MEASURED: Final = "r.source <> 'cache'"  # a replay repeats what was measured already
ABOUT_ONE_LANE: Final = frozenset({"lane_times"})


def conditioned(query: str, wanted: Filters | Selection, *arguments: object) -> Statement:
    """The query with its {wanted} filled in; arguments are those that it names itself."""
    table = _CONDITIONS | _OF_LANE if query in ABOUT_ONE_LANE else _CONDITIONS
    asked = {name: cleaned(value) for name, value in asdict(wanted).items() if value is not None}
    places = enumerate(asked, len(arguments) + 1)
    conditions = [table[name].format(f"${place}") for place, name in places]
    if isinstance(wanted, Selection) and wanted.source is None:
        conditions.append(_MEASURED)
    text = QUERIES[query].replace("{wanted}", " AND ".join(conditions) or "true")
    return Statement(text, (*arguments, *asked.values()))


def cleaned(value: object) -> object:
    """A value as it is stored: of what is asked for, only texts can differ."""
    return clean(value) if isinstance(value, str) else value
