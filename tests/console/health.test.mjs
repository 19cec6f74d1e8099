// The pure parts of the page Health: what it asks for, and how it counts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { planOf, readAll } from "../../app/console/health/read.js";
import { age, balanceOf, bytes, limitRows, partRows, routeRows, timeRows, toneOf } from "../../app/console/health/shape.js";

const paths = (plan) => Object.fromEntries(Object.entries(plan).map(([name, { path, lacks }]) => [name, path ?? `needs ${lacks}`]));

test("Whoever looks is asked for no more than their roles allow.", () => {
  assert.deepEqual(paths(planOf(["ask"])), { health: "/health/ready", metrics: "needs admin", breakers: "needs admin", limits: "/v1/limits" });
  assert.deepEqual(paths(planOf(["read"])), { health: "/health/", metrics: "needs admin", breakers: "needs admin", limits: "/v1/limits" });
  assert.deepEqual(paths(planOf(["admin"])), { health: "/health/detailed", metrics: "/metrics", breakers: "/api/breakers", limits: "needs ask" });
  assert.equal(planOf(undefined).health.path, "/health/detailed");
});

const refusing = (problems) => ({
  async getJSON(path) {
    if (problems[path]) throw problems[path];
    return { path };
  },
});

test("A part that fails leaves the others, a role that lacks is not asked for again, and all failing is a failure.", async () => {
  const plan = planOf(undefined);
  const found = await readAll(refusing({ "/metrics": { status: 500 }, "/api/breakers": { status: 403 } }), plan);
  assert.deepEqual([found.health.data, found.metrics.problem, found.breakers], [{ path: "/health/detailed" }, { status: 500 }, { lacks: "admin" }]);
  assert.equal(plan.breakers.path, undefined);
  const down = { status: null };
  await assert.rejects(readAll(refusing({ "/health/ready": down, "/v1/limits": down }), planOf(["ask"])), (error) => error === down);
});

test("A server that is not ready says so with a 503, which is no failure.", async () => {
  const found = await readAll(refusing({ "/health/ready": { status: 503 } }), planOf(["ask"]));
  assert.deepEqual(found.health.data, { status: "not ready" });
});

test("Parts are rows, with lanes and levels below the part they belong to.", () => {
  const rows = partRows({
    models: { status: "ok", fast: { model: "s:a", outcome: null, last_error: { at: "T", reason: "timeout" } }, last_error: null },
    cache: { status: "degraded", levels: { memory: { status: "ok", latency_ms: 1 } } },
    loop: { status: "ok", late_p99_ms: 7 },
  });
  assert.deepEqual(rows.map(({ name, depth, status }) => [name, depth, status]), [["models", 0, "ok"], ["fast", 1, null], ["cache", 0, "degraded"], ["memory", 1, "ok"], ["loop", 0, "ok"]]);
  assert.deepEqual([rows[1].error, rows[3].latencyMs, rows[4].lateP99Ms], [{ at: "T", text: "timeout" }, 1, 7]);
  assert.deepEqual(["ok", "off", null, "degraded", "timeout"].map(toneOf), ["good", "none", "none", "bad", "bad"]);
});

test("The ledger balances when every accepted record is in one place, and else says by how many it is out.", () => {
  const books = { accepted: 9, stored: 4, duplicate: 1, dead_lettered: 1, logged: 0, spooled: 2, in_flight: 1 };
  assert.equal(balanceOf(books).out, 0);
  assert.deepEqual([balanceOf({ ...books, stored: 3 }).out, balanceOf({ ...books, stored: 5 }).out], [1, -1]);
});

test("What is held for running runs counts as used; a limit of nothing is used up.", () => {
  const [requests, usd, never] = limitRows([
    { scope: "caller", limit: "requests_per_minute", most: 100, left: 75 },
    { scope: "caller", limit: "usd_per_hour", most: 50, left: 20, spent: 25, reserved: 5 },
    { scope: "tenant", limit: "requests_per_hour", most: 0, left: 0 },
  ]);
  assert.deepEqual([requests.used, requests.share, usd.used, usd.share, usd.money, never.share], [25, 0.25, 30, 0.6, true, 1]);
});

test("Percentiles are told of runs and lanes that there were, routes by how often they were asked.", () => {
  const times = { n: 2, p50: 1, p95: 2, p99: 3 };
  const span = { runs: { latency_ms: { live: times } }, lanes: { "slow s:a b": { first_token_ms: { n: 0 }, total_ms: times } }, requests: { routes: { a: { n: 1 }, b: { n: 5 } } } };
  assert.deepEqual(timeRows(span).map(({ kind, source, lane, model }) => [kind, source ?? lane, model]), [["run", "live", null], ["total", "slow", "s:a b"]]);
  assert.deepEqual(routeRows(span).map(([route]) => route), ["b", "a"]);
});

test("Sizes and ages are said as people say them.", () => {
  assert.deepEqual([bytes(0), bytes(1536), bytes(1073741824), bytes(null)], ["0 B", "1.5 KiB", "1 GiB", "–"]);
  assert.deepEqual([age(0.4), age(89), age(300), age(7200), age(200_000)], ["0 s", "89 s", "5 min", "2 h", "2 days"]);
});
