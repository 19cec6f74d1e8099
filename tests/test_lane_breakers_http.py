"""Circuit breakers over real HTTP: a sick upstream, the list of breakers, and holding one by hand."""

from typing import Any, Final

from cells import rows
from fake_openai import Reply, behave, error, fake_openai
from servers import Server, eventually, serving
from tails import SHORT, ask, lanes, started
from wire import valid_stream

WELL: Final = behave("20t")
QUICK: Final[dict[str, Any]] = {"breaker_threshold": 3, "breaker_recovery_s": 60, "cache": False}
NAME: Final = "openai:org/sick"


async def how(server: Server, slow: str = NAME) -> tuple[str, str | None, str]:
    """How the slow lane ended, and the run."""
    events = valid_stream((await ask(server, **lanes(SHORT, slow))).content)
    end = next(event.data for event in events if event.name == "lane_end" and event.data["lane"] == "slow")
    return end["outcome"], end["reason"], events[-1].data["status"]


async def state(server: Server, name: str = NAME) -> dict[str, Any]:
    """What the list says of a breaker."""
    found: dict[str, Any] = (await server.client.get("/api/breakers")).json()["breakers"][name]
    return found


async def test_a_sick_upstream() -> None:
    """A model that answers 500 is left alone after three, probed by one run at a time, and well when that one is."""
    async with fake_openai() as fake, serving(openai_base_url=fake.base_url, slow_model=NAME, **QUICK) as server:
        fake.replies["org/sick"] = error(500)
        seen = [await how(server) for _ in range(6)]
        assert [reason for _, reason, _ in seen] == ["upstream_unavailable"] * 3 + ["breaker_open"] * 3
        assert {(outcome, status) for outcome, _, status in seen} == {("failed", "partial"), ("refused", "partial")}
        assert fake.stats.requests == 3
        assert await state(server) == {"state": "open", "held": "auto"}
        assert (await server.client.get("/health/detailed")).json()["breakers"][NAME] == "open"
        server.parts.board._breakers[NAME]._due = 0.0  # type: ignore[attr-defined]  # a minute later
        fake.replies["org/sick"] = Reply(("hang",))
        probe = await started(server, **lanes(SHORT, NAME))
        assert {(await how(server))[1] for _ in range(3)} == {"breaker_open"}
        assert await state(server) == {"state": "half_open", "held": "auto"}
        await server.client.post(f"/v1/runs/{probe.run_id}/cancel")
        await probe.rest()
        assert fake.stats.requests == 4
        fake.replies["org/sick"] = WELL
        assert {await how(server) for _ in range(2)} == {("completed", None, "completed")}
        assert (await state(server))["state"] == "closed"


async def test_holding_one() -> None:
    """An admin holds a breaker open, and lanes are refused, or closed, and they are not, until it is let go."""
    async with fake_openai() as fake, serving(openai_base_url=fake.base_url, slow_model=NAME, **QUICK) as server:

        async def put(wanted: str) -> None:
            """Hold the breaker at that."""
            answer = await server.client.put(f"/api/breakers/{NAME}", json={"state": wanted})
            assert answer.json()["breakers"][NAME]["held"] == wanted

        fake.replies["org/sick"] = WELL
        await put("open")
        assert await how(server) == ("refused", "breaker_open", "partial")
        await put("auto")
        assert await how(server) == ("completed", None, "completed")
        await put("closed")
        fake.replies["org/sick"] = error(500)
        assert {await how(server) for _ in range(6)} == {("failed", "upstream_unavailable", "partial")}
        await put("auto")
        assert (await state(server))["state"] == "open"


@rows(
    ("name", "body", "status", "code"),
    [
        ("nothing", {"state": "open"}, 404, "breaker_not_found"),
        ("postgres.keys", {"state": "half_open"}, 422, "invalid_request"),
        ("postgres.keys", {"state": "open", "more": 1}, 422, "invalid_request"),
        ("postgres.keys", [], 422, "invalid_request"),
    ],
)
async def test_bad_settings(name: str, body: Any, status: int, code: str) -> None:
    """A breaker that is not there, and a state that is none, are refused."""
    async with serving() as server:
        answer = await server.client.put(f"/api/breakers/{name}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_wrapped_models_share_a_breaker() -> None:
    """A deliberation and the model inside it have one breaker; each is one lane, however often it asks."""
    wrapped = f"deliberate:3@{NAME}"
    async with fake_openai() as fake, serving(openai_base_url=fake.base_url, slow_model=wrapped, **QUICK) as server:
        fake.replies["org/sick"] = error(500)
        seen = [(await how(server, wrapped))[:2] for _ in range(4)]
        assert seen == [("failed", "upstream_unavailable")] * 3 + [("refused", "breaker_open")]
        assert (await how(server, NAME))[1] == "breaker_open"
        assert fake.stats.requests == 9


async def test_lanes_of_different_servers() -> None:
    """The same model at two servers has two breakers."""
    async with fake_openai() as sick, fake_openai() as well:
        urls: dict[str, Any] = {"fast_openai_base_url": well.base_url, "slow_openai_base_url": sick.base_url}
        async with serving(fast_model=NAME, slow_model=NAME, **urls, **QUICK) as server:
            sick.replies["org/sick"], well.replies["org/sick"] = error(500), WELL
            for _ in range(3):
                await how(server)
            events = valid_stream((await ask(server, **lanes(NAME, NAME))).content)
            assert events[-1].data["reason"] == "breaker_open"
            assert events[-1].data["final_lane"] == "fast"
            assert [(await state(server, f"{lane}/{NAME}"))["state"] for lane in ("fast", "slow")] == ["closed", "open"]


async def test_stores_are_on_the_board(dsn: str) -> None:
    """PostgreSQL's breakers are on the board beside the models'; held open, it is not asked for stored answers."""
    async with serving(dsn, cache_memory_entries=0) as server:
        names = set((await server.client.get("/api/breakers")).json()["breakers"])
        assert {"answers.postgres", "postgres.keys", "postgres.record"} <= names
        assert (await server.client.get("/api/breakers")).json()["instance"]
        await server.client.put("/api/breakers/answers.postgres", json={"state": "open"})
        for _ in range(2):
            answer = await ask(server, **lanes(SHORT, SHORT))
            assert answer.headers["x-run-source"] == "live"
        assert (await server.client.get("/health/cache")).json()["levels"]["postgres"] == "away"
        refused = await server.client.put("/api/breakers/postgres.record", json={"state": "open"})
        assert refused.json()["code"] == "breaker_not_found"


async def test_a_lane_asked_twice_in_the_record(dsn: str) -> None:
    """A record of a lane that was asked twice has that lane once, says so, and counts both attempts."""
    settings: dict[str, Any] = {"hedge_after_s": 0.02, "hedge_budget": 0.5, "cache": False}
    async with fake_openai() as fake, serving(dsn, openai_base_url=fake.base_url, **settings) as server:
        await how(server, "openai:5t-60ttft")
        answer = await ask(server, **lanes(SHORT, "openai:5t-60ttft"))
        run_id = valid_stream(answer.content)[0].run_id
        assert fake.stats.requests == 3
        await eventually(lambda: server.parts.readiness.ledger()["stored"] >= 2, 10)
        record = (await server.client.get(f"/v1/runs/{run_id}")).json()
        lane = record["lanes"]["slow"]
        assert (lane["attempt"], lane["outcome"]) == (2, "completed")
        assert lane["usage"]["source"] == "estimated"
        assert lane["usage"]["input_tokens"] == 14
        listed = (await server.client.get("/api/experiments?outcome=completed")).json()["experiments"]
        assert listed[0]["lanes"]["slow"]["attempt"] == 2
