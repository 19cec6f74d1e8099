// app/console/stream.js asks once and comes back to the same run, within a bound.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PAUSES, command, follow } from "../../app/console/stream.js";

const frame = (seq, name, data = {}) => `event: ${name}\nid: r:${seq}\ndata: ${JSON.stringify(data)}\n\n`;
const START = frame(0, "start", { run_id: "r" });

/** A response whose body is these pieces, then ends, or breaks when the last piece is an Error. */
function streaming(pieces, headers = { "x-run-id": "r", "x-run-source": "live" }) {
  const left = [...pieces];
  const pull = (controller) => {
    const piece = left.shift();
    if (piece === undefined) controller.close();
    else if (piece instanceof Error) controller.error(piece);
    else controller.enqueue(new TextEncoder().encode(piece));
  };
  return new Response(new ReadableStream({ pull }), { headers: { "content-type": "text/event-stream", ...headers } });
}

const problem = (status, code, headers = {}) => new Response(JSON.stringify({ code, title: "No", detail: "Because." }), { status, headers });

/** Follow a run against these answers in turn (a function is called, so that it may throw). */
async function against(answers) {
  const calls = [];
  const events = [];
  const pauses = [];
  const fetch = async (url, init) => {
    calls.push([init.method ?? "GET", url, init.headers?.["last-event-id"] ?? null]);
    const answer = answers[Math.min(calls.length, answers.length) - 1];
    return typeof answer === "function" ? answer() : answer;
  };
  await follow({ input: "why?" }, (e) => events.push(e), { fetch, sleep: async (ms) => pauses.push(ms), now: () => 1 });
  return { calls, events, pauses, types: events.map((e) => (e.type === "wire" ? e.name : e.type)) };
}

const broken = () => {
  throw new TypeError("network error");
};

test("A run that is whole is read with one request.", async () => {
  const { calls, types } = await against([streaming([START, frame(1, "done")])]);
  assert.deepEqual(calls, [["POST", "/v1/reason", null]]);
  assert.deepEqual(types, ["opened", "start", "done", "ended"]);
});

for (const [name, cut] of [["broken", [new TypeError("reset")]], ["ended without done", []]]) {
  test(`A connection that is ${name} is resumed with the last id that arrived whole.`, async () => {
    const { calls, types } = await against([streaming([START, frame(1, "delta"), "event: delta\nid: r:2\nda", ...cut]), streaming([frame(2, "delta"), frame(3, "done")])]);
    assert.deepEqual(calls.slice(1), [["GET", "/v1/runs/r/events", "r:1"]]);
    assert.deepEqual(types, ["opened", "start", "delta", "lost", "delta", "done", "ended"]);
  });
}

test("A connection lost before the first event comes back to the run by the id in the header.", async () => {
  const { calls } = await against([streaming([]), streaming([START, frame(1, "done")])]);
  assert.deepEqual(calls, [["POST", "/v1/reason", null], ["GET", "/v1/runs/r/events", null]]);
});

test("204 means that nothing is left, and ends it.", async () => {
  const { calls, types } = await against([streaming([START]), new Response(null, { status: 204 })]);
  assert.deepEqual([calls.length, types.at(-1)], [2, "ended"]);
});

test("A server that stays away is tried a bounded number of times, and never asked a second time.", async () => {
  const { calls, events, pauses } = await against([streaming([START]), broken]);
  assert.deepEqual([calls.filter(([method]) => method === "POST").length, pauses], [1, PAUSES]);
  assert.deepEqual([events.at(-1).type, events.at(-1).problem.code], ["refused", "connection_lost"]);
});

test("A server that replays old events for ever is given up too.", async () => {
  const { calls } = await against([streaming([START]), () => streaming([START])]);
  assert.equal(calls.length, 1 + PAUSES.length);
});

test("A new event starts the row of attempts anew.", async () => {
  const { pauses } = await against([streaming([START]), broken, streaming([frame(1, "delta")]), streaming([frame(2, "done")])]);
  assert.deepEqual(pauses, [PAUSES[0], PAUSES[1], PAUSES[0]]);
});

for (const [status, code] of [[404, "run_not_found"], [410, "run_expired"], [422, "bad_last_event_id"]]) {
  test(`${status} while coming back ends the search at once.`, async () => {
    const { calls, events } = await against([streaming([START]), problem(status, code)]);
    assert.deepEqual([calls.length, events.at(-1).problem.code], [2, code]);
  });
}

for (const [status, code] of [[409, "run_not_live"], [429, "rate_limited"], [503, "shutting_down"]]) {
  test(`${status} while coming back is tried again.`, async () => {
    const { types } = await against([streaming([START]), problem(status, code), streaming([frame(1, "done")])]);
    assert.deepEqual(types, ["opened", "start", "lost", "lost", "done", "ended"]);
  });
}

test("A refusal is told with code, detail and when to come back, and is not repeated.", async () => {
  const { calls, events } = await against([problem(503, "too_many_runs", { "retry-after": "2" })]);
  const { code, detail, retryAfter, status } = events[0].problem;
  assert.deepEqual([calls.length, code, detail, retryAfter, status], [1, "too_many_runs", "Because.", 2, 503]);
});

test("An answer that is no problem+json is still told by its status.", async () => {
  const { events } = await against([new Response("<h1>Bad gateway</h1>", { status: 502 })]);
  assert.equal(events[0].problem.code, "http_502");
});

test("A server that cannot be reached is said so, without asking twice.", async () => {
  const { calls, events } = await against([broken]);
  assert.deepEqual([calls.length, events[0].problem.code], [1, "unreachable"]);
});

test("Data that is no JSON is passed on as null and does not end the stream.", async () => {
  const { events, types } = await against([streaming([START, "event: delta\nid: r:1\ndata: {\n\n", frame(2, "done")])]);
  assert.deepEqual([types, events[2].data], [["opened", "start", "delta", "done", "ended"], null]);
});

test("Aborting ends it without a word.", async () => {
  const aborter = new AbortController();
  aborter.abort();
  const events = [];
  const aborted = () => Promise.reject(new DOMException("aborted", "AbortError"));
  await assert.rejects(follow({}, (e) => events.push(e), { signal: aborter.signal, fetch: aborted }), { name: "AbortError" });
  assert.deepEqual(events, []);
});

test("A command tells null when it was taken, else the problem.", async () => {
  assert.equal(await command("r", "cancel", async () => new Response("{}")), null);
  assert.equal((await command("r", "accept", async () => problem(409, "nothing_to_accept"))).code, "nothing_to_accept");
  assert.equal((await command("r", "accept", async () => broken())).code, "unreachable");
});
