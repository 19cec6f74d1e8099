"""Secrets planted in questions, headers, settings, addresses and errors come out nowhere, whatever is done with them.

One real server with its database, a provider, a Redis, a collector of traces and callers with keys is asked in every
way there is. Everything that came out is kept and searched: answers with their heads, log lines, tables, the spool,
spans, numbers.
"""

import asyncio
import io
import logging
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import leaks
import pytest
from collectors import Collector, collecting
from fake_openai import FakeOpenAI, error, fake_openai
from keyring import PEPPER, bearer, issued
from servers import Server, eventually, serving

from app import logs
from app.postgres.pool import Pool
from app.question import EVERY_RIGHT
from bench.proxy import Proxy

# None of these was ever a key. Each is taken apart, so that scanners do not take it for a real one.
IN_QUESTION = "AK" + "IAIOSFODNN7EXAMPL2"
IN_SYSTEM = "sk" + "-proj-abcDEF1234567890abcdefghijklMNOQ"
IN_LABEL = "gh" + "p_16C7e42F292c6912E7710c838347Ae178B4b"
IN_MODEL = "xo" + "xb-123456789012-1234567890123-AbCdEfGhIjKm"
IN_HEADER = "sk" + "-ant-api03-AbCdEf123456_ghIJKL-789013"
IN_URL = "hf" + "_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGi"
IN_FEEDBACK = "gl" + "pat-Ab1-Cd2_Ef3Gh4Ij5Kl7"
IN_UPSTREAM_ERROR = "sk" + "-or-v1-9f86d081884c7d659a2feaa0c55ad0159f86d081884c7d659a2feaa0c55ad016"
IN_BUG = "a word of a question that a bug quotes"
PROVIDER_KEY = "provider-key-of-no-known-shape-81723"
COLLECTOR_KEY = "collector-key-of-no-known-shape-81724"
COLLECTOR_PASSWORD = "collector-password-81725"
SCRAPER_TOKEN = "scraper-token-of-no-known-shape-81726"
DATABASE_PASSWORD = "database-password-81727"
PLANTED = {name: value for name, value in list(globals().items()) if name.isupper() and isinstance(value, str)}

QUESTION = {
    "messages": [
        {"role": "system", "content": f"Deploy with {IN_SYSTEM} please."},
        {"role": "user", "content": f"Why is {IN_QUESTION} refused?"},
    ],
    "experiment": f"with {IN_LABEL}",
    "tags": [f"t {IN_LABEL}"],
}
HEADERS = {
    "x-api-key": IN_HEADER,
    "cookie": f"session={IN_HEADER}; other={IN_HEADER}",
    "user-agent": f"agent/{IN_HEADER}",
    "referer": f"https://example.org/?token={IN_HEADER}",
    "x-request-id": IN_HEADER,
    "x-forwarded-for": IN_HEADER,
    "traceparent": IN_HEADER,
    "idempotency-key": IN_HEADER,
}


@dataclass
class Out:
    """What came out: every answer, and every log line in both forms."""

    answers: list[bytes] = field(default_factory=list)
    lines: io.StringIO = field(default_factory=io.StringIO)

    async def keep(self, answer: httpx.Response) -> None:
        """Note an answer with its head, its end included."""
        await answer.aread()
        self.answers += [str(answer.headers.multi_items()).encode(), answer.content]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear every log line there is, as a server writes it."""
        handlers = []
        for formatter in (logs.Json(traced=True), logs.Text()):
            handlers.append(logging.StreamHandler(self.lines))
            handlers[-1].setFormatter(formatter)
        levels = {logging.getLogger(name): logging.getLogger(name).level for name in logs.OURS}
        for ours in levels:
            ours.setLevel(logging.DEBUG)
        for handler in handlers:
            logging.root.addHandler(handler)
        try:
            yield
        finally:
            for ours, level in levels.items():
                ours.setLevel(level)
            for handler in handlers:
                logging.root.removeHandler(handler)


@asynccontextmanager
async def planted(
    dsn: str, redis_url: str, spool: Path, upstream: FakeOpenAI, collector: Collector
) -> AsyncIterator[Server]:
    """A server whose every setting that may hold a secret does."""
    host = collector.url.removeprefix("http://")
    settings: dict[str, Any] = {
        "auth": "keys",
        "key_pepper": PEPPER,
        "fast_model": "openai:3t",
        "slow_model": "openai:4t-10ms",
        "openai_base_url": upstream.base_url,
        "openai_api_key": PROVIDER_KEY,
        "redis_url": redis_url,
        "trace_endpoint": f"http://user:{COLLECTOR_PASSWORD}@{host}",
        "trace_headers": f"x-token={COLLECTOR_KEY}",
        "metrics_token": SCRAPER_TOKEN,
        "spool_dir": spool,
        "disconnect_grace_s": 0,
        "audit_content": "full",
    }
    async with serving(dsn.replace("tandem@", f"tandem:{DATABASE_PASSWORD}@"), **settings) as server:
        yield server


async def ask_in_every_way(server: Server, out: Out, key: dict[str, str]) -> str:
    """Questions that are answered, refused, left, resumed, and fail; a run of them all."""
    http, headers = server.client, {**HEADERS, **key}
    posts: list[tuple[Any, dict[str, str]]] = [
        (QUESTION, headers),
        (QUESTION, {**headers, "idempotency-key": "other"}),
        ({**QUESTION, "stream": False, "cache": "refresh"}, key),
        ({**QUESTION, "stream": False, "fast": {"model": f"openai:3t-{IN_MODEL}"}, "cache": "off"}, key),
        ({**QUESTION, "stream": False, "fast": {"model": "openai:angry"}, "cache": "off"}, key),
        ({**QUESTION, "stream": False, "slow": {"model": f"nobody:{IN_MODEL}"}}, key),
        ({**QUESTION, "stream": False, "fast": {"timeout_s": f"{IN_QUESTION}"}}, key),
        ({**QUESTION, IN_QUESTION: 1, "policy": IN_QUESTION}, key),
        ({"input": IN_QUESTION, "messages": []}, key),
        (QUESTION, {**HEADERS, "authorization": f"Bearer {IN_HEADER}"}),
        (QUESTION, HEADERS),
        (QUESTION, {**key, "last-event-id": IN_HEADER}),
    ]
    run_id = ""
    for body, sent in posts:
        answer = await http.post("/v1/reason", json=body, headers=sent)
        run_id = run_id or answer.headers.get("x-run-id", "")
        await out.keep(answer)
    for raw, kind in (
        (f"{{{IN_QUESTION}", "application/json"),
        (IN_QUESTION, "text/plain"),
        ("[" * 5000, "application/json"),
    ):
        await out.keep(await http.post("/v1/reason", content=raw, headers={**key, "content-type": kind}))
    for query in (
        {"input": IN_QUESTION, "stream": "false"},
        {"input": "x", "key": IN_URL},
        {"input": "x", "cache": IN_URL},
    ):
        await out.keep(await http.get("/v1/reason", params=query, headers=key))
    async with http.stream("POST", "/v1/reason", json={**QUESTION, "cache": "off"}, headers=key) as left:
        await anext(left.aiter_bytes())
    return run_id


async def look_everywhere(server: Server, out: Out, key: dict[str, str], run_id: str) -> None:
    """Every other address, with secrets where a secret can be put."""
    http, past = server.client, "/api/experiments"
    paths = [
        f"/v1/runs/{run_id}", f"/v1/runs/{run_id}/events", f"/v1/runs/{IN_URL}", f"/v1/runs/{IN_URL}/events",
        past, f"{past}?payload=true&experiment=with {IN_LABEL}", f"{past}?status={IN_URL}", f"{past}?cursor={IN_URL}",
        f"{past}/{run_id}", f"{past}/{IN_URL}", f"{past}/export?payload=true", f"{past}/export?format={IN_URL}",
        f"{past}/stats?by=experiment,variant", f"{past}/agreement", f"{past}/deadline-curve",
        f"{past}/compare?experiment={IN_URL}&a={IN_URL}&b=with {IN_LABEL}", "/api/logs", f"/api/logs?status={IN_URL}",
        "/api/cache/stats", "/health/", "/health/detailed", "/health/live", "/health/ready", "/health/cache",
        "/prometheus", "/metrics", "/api/metrics/summary", "/openapi.json", f"/{IN_URL}", f"/nothing?key={IN_URL}",
    ]  # fmt: skip
    for path in paths:
        await out.keep(await http.get(path, headers=key))
    await out.keep(await http.get("/prometheus", headers={"authorization": f"Bearer {SCRAPER_TOKEN}"}))
    await out.keep(await http.get("/metrics", headers={"authorization": f"Bearer {SCRAPER_TOKEN[:-1]}"}))
    note = {"value": f"see {IN_FEEDBACK}", "comment": f"or {IN_FEEDBACK}"}
    await out.keep(await http.put(f"{past}/{run_id}/feedback/note", json=note, headers=key))
    for path in (f"/v1/runs/{run_id}/cancel", f"/v1/runs/{run_id}/accept", f"/v1/runs/{IN_URL}/cancel", "/v1/session"):
        await out.keep(await http.post(path, headers=key))
    for path in (f"/api/cache/{IN_URL}", f"{past}/{run_id}/feedback/{IN_URL}", f"/{IN_URL}"):
        await out.keep(await http.delete(path, headers=key))


async def meet_bugs(server: Server, out: Out, key: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults of ours that quote what they handle: in a route, in a run, in the end of a run."""

    def fail(*_: Any, **__: Any) -> Any:
        """A bug."""
        raise ValueError(f"cannot handle {IN_BUG!r} and {IN_QUESTION}")

    for target in ("app.reasoning.runs.Runs.find", "app.reasoning.desk.Desk._order", "app.reasoning.race.Race._start"):
        with monkeypatch.context() as patched:
            patched.setattr(target, fail)
            for method, path, body in (
                ("POST", "/v1/reason", {**QUESTION, "cache": "off"}),
                ("GET", "/v1/runs/x", None),
            ):
                await out.keep(await server.client.request(method, path, json=body, headers=key))
    with monkeypatch.context() as patched:
        patched.setattr("app.llm.openai.OpenAIModel._body", fail)
        await out.keep(await server.client.post("/v1/reason", json={**QUESTION, "cache": "off"}, headers=key))
    asyncio.get_running_loop().call_exception_handler(
        {"message": f"Task died\n{IN_BUG}", "exception": ValueError(IN_BUG)}
    )


async def test_what_is_planted_comes_out_nowhere(
    proxy: tuple[Proxy, str],
    dsn: str,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No answer, log line, record, dead letter, spooled entry, span or number has a word of any of them."""
    monkeypatch.setattr("app.telemetry.tracing.GATHER_S", 0.01)
    network, through = proxy
    out, spool = Out(), tmp_path / "spool"
    angry = error(401, f"Incorrect API key provided: {PROVIDER_KEY} or {IN_UPSTREAM_ERROR}")
    async with Pool(dsn, 2) as pool, fake_openai(angry=angry) as upstream:
        admin = bearer(await issued(pool, "alice", EVERY_RIGHT))
        with collecting() as collector, out.listening():
            async with AsyncExitStack() as away, planted(through, redis_url, spool, upstream, collector) as server:
                await eventually(lambda: server.parts.readiness.ready)
                run_id = await ask_in_every_way(server, out, admin)
                await look_everywhere(server, out, admin, run_id)
                await meet_bugs(server, out, admin, monkeypatch)
                await eventually(lambda: len(collector.spans) > 10, 3.0)
                await away.enter_async_context(network.stopped())  # until the server has ended
                await out.keep(await server.client.post("/v1/reason", json={**QUESTION, "cache": "off"}, headers=admin))
                spooled = leaks.folder(spool)
        places = {
            "answers": b"\n".join(out.answers),
            "log": out.lines.getvalue().encode(),
            "database": await leaks.database(dsn),
            "spool": spooled + leaks.folder(spool),
            "spans": b"\n".join(collector.raw),
        }
    secrets = {**PLANTED, "PEPPER": PEPPER, "KEY": admin["authorization"].removeprefix("Bearer ")}
    # Or finding nothing would mean nothing.
    assert {name for name in places if run_id.encode() in places[name]} == places.keys()
    assert {name for name in places if b"[masked:" in places[name]} == places.keys() - {"spans"}
    found = [
        f"{name} in {place}"
        for place, text in places.items()
        for name, value in secrets.items()
        if value.encode() in text
    ]
    assert found == []


async def test_the_search_finds_what_is_there(dsn: str, tmp_path: Path) -> None:
    """A secret in a column, compressed in one, or in a file is found: a search that cannot fail proves nothing."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE odd (a text, b bytea)")
    await connection.execute(
        "INSERT INTO odd VALUES ($1, $2)", IN_QUESTION, b"12345" + zlib.compress(IN_LABEL.encode())
    )
    await connection.close()
    text = await leaks.database(dsn)
    assert IN_QUESTION.encode() in text
    assert IN_LABEL.encode() in text
    (tmp_path / "file").write_text(IN_URL)
    assert IN_URL.encode() in leaks.folder(tmp_path)
