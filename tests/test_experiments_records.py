"""The routes of the records: the list with its filters, one record whole, and feedback on it."""

# ruff: noqa: F401, F811  # a fixture is imported by its name

import importlib.resources
from datetime import UTC, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from pasts import EPOCH, Site, closing, lane, opening, past

from app.experiments.feedback import NAMES_MAX
from app.http.callers import LOCAL
from app.postgres import queries
from app.question import Caller

SOMEBODY = Caller("somebody")
NOBODY = "0199aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"


async def ids(past: Site, **params: Any) -> list[str]:
    """The runs of a list."""
    return [record["run_id"] for record in (await past.get("", **params))["experiments"]]


FILTERS = [
    ("since", (EPOCH + timedelta(days=1)).isoformat()), ("status", "failed"), ("outcome", "timeout"),
    ("experiment", "e"), ("variant", "v"), ("prompt_class", "c"), ("model", "b:slow"), ("source", "import"),
    ("agreement", "disagree"), ("min_latency_ms", "5000"), ("tag", "t"),
]  # fmt: skip


async def test_each_filter_finds_its_run(past: Site) -> None:
    """Every filter alone, and all together, pass exactly the run that has it all."""
    plain = closing(opening(at_s=0))
    special = closing(
        opening(
            at_s=90_000, experiment="e", variant="v", prompt_class="c", tags=("s", "t"), source="import",
            models=("b:fast", "b:slow"),
        ),
        "disagree", status="failed", slow=lane("slow", 6000, "timeout"), latency_ms=6000.0,
    )  # fmt: skip
    special.lanes["slow"] = replace(special.lanes["slow"], model="b:slow")
    await past.keep(plain, special)
    found = {name: await ids(past, **{name: value}) for name, value in FILTERS}
    assert found == {name: [special.opening.run_id] for name, _ in FILTERS}
    assert await ids(past, **dict(FILTERS)) == [special.opening.run_id]
    assert len(await ids(past)) == 2


async def test_until_is_exclusive(past: Site) -> None:
    """A run of the very moment is not before it, and is since it."""
    await past.keep(closing(opening(at_s=60)))
    moment = (EPOCH + timedelta(seconds=60)).astimezone(UTC).isoformat()
    assert await ids(past, until=moment) == []
    assert len(await ids(past, since=moment)) == 1


async def test_a_cursor_of_another_list_is_refused(past: Site) -> None:
    """Pages follow under the same filters, and under others the cursor is a 422 that names it."""
    await past.keep(*(closing(opening(experiment="e")) for _ in range(3)))
    first = await past.get("", experiment="e", limit=2)
    assert len(await ids(past, experiment="e", limit=2, cursor=first["next_cursor"])) == 1
    assert "cursor: it belongs to a list with other filters" in await past.refuses("", cursor=first["next_cursor"])


async def test_fields_and_payload(past: Site) -> None:
    """A list shows the fields it is asked for, with texts on request, and null where these are no longer kept."""
    old, run = closing(), closing(opening("What?"))
    await past.keep(old, run)
    async with past.pool.connection() as connection:
        await connection.execute("DELETE FROM run_payloads WHERE run_id = $1", old.opening.run_id)
    shown, gone = (await past.get("", fields="run_id,labels", payload="true"))["experiments"]
    assert shown.keys() == {"run_id", "labels", "payload"}
    assert shown["payload"]["messages"] == [{"role": "user", "content": "What?"}]
    assert shown["payload"]["texts"] == {"fast": "fast answer", "slow": "slow answer"}
    assert gone["payload"] is None
    assert "payload" not in (await past.get(""))["experiments"][0]


BAD_PARAMETERS: list[tuple[dict[str, Any], str]] = [
    ({"limit": "51", "payload": "true"}, "limit"), ({"fields": "x"}, "fields"), ({"payload": "maybe"}, "payload"),
    ({"limit": ["1", "2"]}, "limit"), ({"source": "dream"}, "source"),
]  # fmt: skip


async def test_a_bad_parameter_is_named(past: Site) -> None:
    """A list with a bad parameter is a 422 that names the parameter."""
    for params, named in BAD_PARAMETERS:
        assert named in await past.refuses("", **params)


async def test_feedback_is_kept_and_shown(past: Site) -> None:
    """What is said about a run is in its detail, the last word under each name."""
    run = closing()
    await past.keep(run)
    path = f"/api/experiments/{run.opening.run_id}"
    for body in ({"value": 3}, {"value": 4.5, "comment": "good"}):
        assert (await past.client.put(f"{path}/feedback/score", json=body)).status_code == 200
    shown = (await past.get(f"/{run.opening.run_id}"))["feedback"]
    assert (shown["score"]["value"], shown["score"]["comment"]) == (4.5, "good")
    assert (await past.client.delete(f"{path}/feedback/score")).status_code == 204
    assert (await past.client.delete(f"{path}/feedback/score")).status_code == 204
    assert (await past.get(f"/{run.opening.run_id}"))["feedback"] == {}


async def test_a_replay_says_what_it_saved(past: Site) -> None:
    """The detail of a replay has what the run it replays had cost, null where that is not known; no other run has."""
    replays = [closing(opening(source="cache"), cost_nano=0, saved_nano=nano) for nano in (11_000_000, None)]
    await past.keep(*replays, live := closing())
    assert [(await past.get(f"/{run.opening.run_id}"))["saved_usd"] for run in replays] == [0.011, None]
    assert "saved_usd" not in await past.get(f"/{live.opening.run_id}")
    assert not any("saved_usd" in record for record in (await past.get(""))["experiments"])


async def test_feedback_is_idempotent(past: Site) -> None:
    """The same word said again changes nothing, not even its time."""
    run = closing()
    await past.keep(run)
    path = f"/api/experiments/{run.opening.run_id}/feedback/thumb"
    first, second = [(await past.client.put(path, json={"value": "up"})).json() for _ in range(2)]
    assert first == second
    third = (await past.client.put(path, json={"value": "down"})).json()
    assert third["created_at"] == first["created_at"] < third["updated_at"]


async def test_a_value_keeps_its_kind(past: Site) -> None:
    """A boolean, a number and a text come back as they were sent."""
    run = closing()
    await past.keep(run)
    for value in (True, False, 0, -1, 1.5, "", "text \U0001f600"):
        await past.client.put(f"/api/experiments/{run.opening.run_id}/feedback/x", json={"value": value})
        kept = (await past.get(f"/{run.opening.run_id}"))["feedback"]["x"]["value"]
        assert (kept, type(kept)) == (value, type(value))


BAD_FEEDBACK = [
    ("x", '{"value": null}', "value"), ("x", '{"value": [1]}', "value"), ("x", "{}", "value"),
    ("x", '{"value": 1, "other": 2}', "other"), ("x", '{"value": 1e999}', "value"), ("x", "nonsense", "JSON"),
    ("x", f'{{"value": "{"v" * 2001}"}}', "value"), ("x", f'{{"value": 1, "comment": "{"v" * 2001}"}}', "comment"),
    ("x", '{"value": 1, "value": 2}', "twice"), ("x", '{"value": 99999999999999999999}', "value"),
    ("fast_correct", '{"value": 1}', "fast_correct"), ("slow_correct", '{"value": "yes"}', "slow_correct"),
    ("X", '{"value": 1}', "name"), ("x" * 65, '{"value": 1}', "name"), ("a b", '{"value": 1}', "name"),
]  # fmt: skip


async def test_bad_feedback_is_refused(past: Site) -> None:
    """Feedback that is no value, too long or under a bad name is a 422 that names what is wrong."""
    run = closing()
    await past.keep(run)
    for name, body, named in BAD_FEEDBACK:
        path = f"/api/experiments/{run.opening.run_id}/feedback/{name}"
        answer = await past.client.put(path, content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, named in answer.json()["detail"]) == (422, True), (body, answer.text)
    assert (await past.get(f"/{run.opening.run_id}"))["feedback"] == {}


async def test_feedback_must_be_json_of_bounded_size(past: Site) -> None:
    """Another content type is a 415, a large body a 413 that blames no setting, since none changes this bound."""
    path = f"/api/experiments/{NOBODY}/feedback/x"
    assert (await past.client.put(path, content="value=1")).status_code == 415
    large = await past.client.put(path, json={"value": "v" * 40_000})
    assert large.status_code == 413
    assert "MAX_BODY_BYTES" not in large.json()["detail"]


async def test_names_are_bounded(past: Site) -> None:
    """A run takes so many names and no more; those it has can still change."""
    run = closing()
    await past.keep(run)
    names: dict[str, Any] = {f"n{i}": i for i in range(NAMES_MAX)}
    await past.say(run, LOCAL, **names)
    path = f"/api/experiments/{run.opening.run_id}/feedback"
    assert (await past.client.put(f"{path}/one_more", json={"value": 1})).status_code == 422
    assert (await past.client.put(f"{path}/n0", json={"value": 7})).json()["value"] == 7


def test_every_query_is_scoped_to_its_caller() -> None:
    """Every query about past runs and their feedback names the caller in its condition."""
    text = (importlib.resources.files("app.postgres") / "experiments.sql").read_text("utf-8")
    found = queries.read(text)
    assert len(found) >= 9
    unscoped = [name for name, query in found.items() if "r.caller = $1" not in query.sql]
    assert unscoped == ["end_when_idle"]  # which asks nothing


async def test_nobody_sees_or_judges_a_foreign_run(past: Site) -> None:
    """For somebody else's run, an unknown one and a word that is none, every route says 404 and changes nothing."""
    foreign = closing(opening(caller=SOMEBODY.id))
    await past.keep(foreign)
    await past.say(foreign, SOMEBODY, x=1)
    for run_id in (foreign.opening.run_id, NOBODY, "garbage"):
        path = f"/api/experiments/{run_id}"
        assert (await past.client.get(path)).status_code == 404
        assert (await past.client.put(f"{path}/feedback/x", json={"value": 2})).status_code == 404
        assert (await past.client.delete(f"{path}/feedback/x")).status_code == 404
    said = await past.reads.said(SOMEBODY, foreign.opening.run_id)
    assert said is not None
    assert said["x"]["value"] == 1
    assert await past.reads.payloads(LOCAL, [foreign.opening.run_id]) == {}
    assert await ids(past) == []
