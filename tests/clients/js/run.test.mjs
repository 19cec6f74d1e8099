// A run is read once, and come back to within a bound; the answers are made by hand.
import assert from "node:assert/strict";
import { test } from "node:test";
import { TandemError, createClient } from "../../../clients/js/src/tandem.js";
import { START, against, broken, ending, frame, problem, streaming } from "./made.mjs";

const ROW = [500, 1000, 2000, 4000, 8000, 8000, 8000, 8000];
const places = (calls) => calls.map(({ method, path, headers }) => [method, path, headers.get("last-event-id")]);
const turn = () => new Promise((resolve) => setTimeout(resolve, 1));
const KEY = "sk-tandem-0123456789abcdef";

test("A run that is whole is read with one request, and tells its phases.", async () => {
  const states = [];
  const { client, calls } = against([streaming([START, frame(1, "done", { status: "completed" })])]);
  const run = client.ask({ input: "why?" }, { onState: (state) => states.push(state) });
  const { events, error } = await ending(run);
  assert.equal(error, null);
  assert.deepEqual(events[0], { name: "start", id: "r:0", seq: 0, data: { run_id: "r", source: "live" }, at: 1 });
  assert.deepEqual(places(calls), [["POST", "/v1/reason", null]]);
  assert.deepEqual(JSON.parse(calls[0].body), { input: "why?", stream: true });
  assert.deepEqual(states.map(({ phase }) => phase), ["asking", "live", "over"]);
  assert.deepEqual([run.id, run.source, run.lastEventId, run.done, await run.finished], ["r", "live", "r:1", { status: "completed" }, run.done]);
});

test("A string is the question, and every question has a key of its own unless one is given.", async () => {
  const { client, calls } = against([() => streaming([START, frame(1, "done")])]);
  for (const options of [{}, {}, { idempotencyKey: "mine" }]) await client.ask("why?", options).finished;
  const keys = calls.map(({ headers }) => headers.get("idempotency-key"));
  assert.equal(JSON.parse(calls[0].body).input, "why?");
  assert.match(keys[0], /^[0-9a-f-]{36}$/);
  assert.notEqual(keys[0], keys[1]);
  assert.equal(keys[2], "mine");
});

for (const [name, cut] of [["broken", [new TypeError("reset")]], ["ended without done", []]]) {
  test(`A connection that is ${name} is resumed with the last id that arrived whole.`, async () => {
    const first = streaming([START, frame(1, "delta"), "event: delta\nid: r:2\nda", ...cut]);
    const { client, calls } = against([first, streaming([frame(2, "delta"), frame(3, "done")])]);
    const { names } = await ending(client.ask("why?"));
    assert.deepEqual(places(calls.slice(1)), [["GET", "/v1/runs/r/events", "r:1"]]);
    assert.deepEqual(names, ["start", "delta", "delta", "done"]);
  });
}

test("A connection lost before the first event comes back to the run by the id in the header.", async () => {
  const { client, calls } = against([streaming([]), streaming([START, frame(1, "done")])]);
  await client.ask("why?").finished;
  assert.deepEqual(places(calls), [["POST", "/v1/reason", null], ["GET", "/v1/runs/r/events", null]]);
});

test("An event that comes twice is told once, and one that was skipped is asked for again.", async () => {
  const gap = streaming([START, frame(1, "delta"), frame(3, "delta"), frame(4, "done")]);
  const { client, calls } = against([gap, streaming([START, frame(1, "delta"), frame(2, "delta"), frame(3, "delta"), frame(4, "done")])]);
  const { events } = await ending(client.ask("why?"));
  assert.deepEqual(events.map(({ seq }) => seq), [0, 1, 2, 3, 4]);
  assert.equal(calls[1].headers.get("last-event-id"), "r:1");
});

for (const [name, wrong] of [
  ["without a number", "event: delta\nid: r\ndata: {}\n\n"],
  ["of another run", frame(1, "done", {}, "other")],
  ["whose data is no JSON", "event: delta\nid: r:1\ndata: {\n\n"],
]) {
  test(`An event ${name} is told to nobody and ends the connection.`, async () => {
    const { client, calls } = against([streaming([START, wrong, frame(1, "delta")]), streaming([frame(1, "done")])]);
    const { names } = await ending(client.ask("why?"));
    assert.deepEqual([names, calls.length], [["start", "done"], 2]);
  });
}

test("What comes behind done is told to nobody, and a connection that does not end there is given up.", async () => {
  const { client, calls } = against([streaming([START + frame(1, "done") + frame(2, "delta"), frame(3, "delta"), null])]);
  assert.deepEqual((await ending(client.ask("why?"))).names, ["start", "done"]);
  await turn();
  assert.ok(calls[0].signal.aborted);
});

test("A connection that ends behind done is let end, so that it can be used again.", async () => {
  const read = [];
  const spied = streaming([START, frame(1, "done")]);
  const reader = spied.body.getReader.bind(spied.body);
  spied.body.getReader = () => Object.assign(reader(), { cancel: async () => read.push("cancelled") });
  await against([spied]).client.ask("why?").finished;
  assert.deepEqual(read, []);
});

test("A server that stays away is tried a bounded number of times, with full jitter, and never asked a second time.", async () => {
  const states = [];
  const { client, calls, pauses } = against([streaming([START]), broken]);
  const { error } = await ending(client.ask("why?", { onState: (state) => states.push(state) }));
  assert.deepEqual([calls.filter(({ method }) => method === "POST").length, pauses], [1, ROW]);
  assert.deepEqual([error.name, error.code, error.runId, error.retryable], ["TandemError", "connection_lost", "r", true]);
  assert.deepEqual(states.filter(({ phase }) => phase === "lost").map(({ attempt, inMs }) => [attempt, inMs]), ROW.map((ms, n) => [n + 1, ms]));
  const none = against([streaming([START]), broken], { random: () => 0 });
  await ending(none.client.ask("why?"));
  assert.deepEqual(none.pauses, ROW.map(() => 0));
});

test("A server that replays old events for ever is given up too.", async () => {
  const { client, calls } = against([() => streaming([START])]);
  assert.equal((await ending(client.ask("why?"))).error.code, "connection_lost");
  assert.equal(calls.length, 1 + ROW.length);
});

test("A new event starts the row of attempts anew.", async () => {
  const { client, pauses } = against([streaming([START]), broken, streaming([frame(1, "delta")]), streaming([frame(2, "done")])]);
  await client.ask("why?").finished;
  assert.deepEqual(pauses, [500, 1000, 500]);
});

test("A question that got no answer is asked again under the same key, a few times.", async () => {
  const { client, calls } = against([broken]);
  const { error } = await ending(client.ask("why?"));
  assert.deepEqual([error.code, error.status, error.runId], ["unreachable", null, null]);
  assert.equal(new Set(calls.map(({ headers }) => headers.get("idempotency-key"))).size, 1);
  assert.equal(calls.length, 4);
});

test("A run that was opened by the answer that got lost is no run that we joined.", async () => {
  const joined = streaming([START, frame(1, "done")], { "x-run-id": "r", "x-run-source": "attached" });
  const { client } = against([broken, joined]);
  const run = client.ask("why?");
  await run.finished;
  assert.equal(run.source, "live");
});

for (const [status, code] of [[409, "run_not_live"], [429, "rate_limited"], [503, "shutting_down"]]) {
  test(`${status} ${code} while coming back, or asking again, is tried again when the server says so.`, async () => {
    for (const lost of [streaming([START]), broken]) {
      const { client, pauses } = against([lost, problem(status, code, { "retry-after": "3" }), streaming([START, frame(1, "done")])]);
      await client.ask("why?").finished;
      assert.deepEqual(pauses, [500, 3000 + 1000]);
    }
  });
}

for (const [status, code] of [[404, "run_not_found"], [410, "run_expired"], [422, "bad_last_event_id"], [401, "unauthenticated"]]) {
  test(`${status} while coming back ends the search at once.`, async () => {
    const { client, calls } = against([streaming([START]), problem(status, code)]);
    const { error } = await ending(client.ask("why?"));
    assert.deepEqual([calls.length, error.code, error.status, error.runId, error.retryable], [2, code, status, "r", false]);
  });
}

test("Who is told to come back in an hour is told so, and waits for nothing.", async () => {
  const { client, pauses } = against([streaming([START]), problem(429, "rate_limited", { "retry-after": "3600" })]);
  const { error } = await ending(client.ask("why?"));
  assert.deepEqual([error.code, error.retryAfter, error.retryable, pauses.length], ["rate_limited", 3600, true, 1]);
});

test("A refusal of a question is told with all it says, and is not repeated.", async () => {
  const { client, calls } = against([problem(503, "too_many_runs", { "retry-after": "2" })]);
  const { error } = await ending(client.ask("why?"));
  assert.ok(error instanceof TandemError);
  const { code, title, detail, retryAfter, status, retryable, runId } = error;
  assert.deepEqual([calls.length, code, title, detail, retryAfter, status, retryable, runId], [1, "too_many_runs", "No", "Because.", 2, 503, true, null]);
});

test("Retry-After may be a date, and what is neither is none.", async () => {
  const at = async (value) => (await ending(against([problem(503, "x", { "retry-after": value })]).client.ask("why?"))).error.retryAfter;
  assert.ok(Math.abs((await at(new Date(Date.now() + 30_000).toUTCString())) - 30) < 2);
  assert.deepEqual([await at("soon"), await at("-5"), await at("0")], [null, null, 0]);
});

for (const [name, body] of [["a page", "<h1>Bad gateway</h1>"], ["no words", null], ["wrong types", '{"code": 7, "title": {}}'], ["a list", "[]"], ["null", "null"]]) {
  test(`A refusal that is ${name} is told by its status.`, async () => {
    const { error } = await ending(against([new Response(body, { status: 502 })]).client.ask("why?"));
    assert.deepEqual([error.code, error.title], ["http_502", "The request was refused"]);
  });
}

test("An explanation of endless length is not read to its end.", async () => {
  const pull = (controller) => controller.enqueue(new Uint8Array(1 << 20).fill(32));
  const { error } = await ending(against([new Response(new ReadableStream({ pull }), { status: 500 })]).client.ask("why?"));
  assert.equal(error.code, "http_500");
});

test("An answer of 200 that is no event stream is an error, and one to come back from when the run is known.", async () => {
  const page = () => new Response("<h1>Sign in</h1>", { headers: { "content-type": "text/html" } });
  assert.equal((await ending(against([page()]).client.ask("why?"))).error.code, "not_a_stream");
  const { client } = against([streaming([START]), page(), streaming([frame(1, "done")])]);
  assert.equal((await ending(client.ask("why?"))).error, null);
});

test("An event beyond 4 MiB is an error that nobody comes back from.", async () => {
  const { client, calls } = against([streaming([START, `data: ${"x".repeat(5 << 20)}`])]);
  assert.equal((await ending(client.ask("why?"))).error.code, "event_too_large");
  assert.equal(calls.length, 1);
});

test("A run that nobody reads is not kept for ever.", async () => {
  const big = (seq) => frame(seq, "delta", { text: "x".repeat(3 << 20) });
  const pieces = () => streaming([START, ...[1, 2, 3, 4, 5, 6].map(big), frame(7, "done")]);
  await assert.rejects(against([pieces()]).client.ask("why?").finished, { code: "too_much_unread" });
});

test("Resuming asks for what is behind an event; 204 means that nothing is.", async () => {
  const { client, calls } = against([streaming([frame(3, "delta"), frame(4, "done")]), new Response(null, { status: 204 })]);
  const { events } = await ending(client.resume("r", { lastEventId: "r:2" }));
  assert.deepEqual(events.map(({ seq }) => seq), [3, 4]);
  const run = client.resume("r", { lastEventId: "r:4" });
  assert.deepEqual([await run.finished, run.done, run.id], [null, null, "r"]);
  assert.deepEqual(places(calls), [["GET", "/v1/runs/r/events", "r:2"], ["GET", "/v1/runs/r/events", "r:4"]]);
});

test("A run that is asked for before it can be read is asked for again.", async () => {
  const { client, pauses } = against([problem(409, "run_not_live", { "retry-after": "2" }), streaming([START, frame(1, "done")])]);
  await client.resume("r").finished;
  assert.deepEqual(pauses, [2500]);
});

test("Aborting ends it without a word, at any moment.", async () => {
  for (const answers of [[() => new Promise(() => {})], [streaming([START, null])], [streaming([START]), () => new Promise(() => {})]]) {
    const aborter = new AbortController();
    const phases = [];
    const hanging = answers.map((answer) => async (init) => {
      const rejected = new Promise((_, reject) => init.signal.addEventListener("abort", () => reject(init.signal.reason)));
      return Promise.race([typeof answer === "function" ? answer() : answer, rejected]);
    });
    const run = against(hanging).client.ask("why?", { signal: aborter.signal, onState: ({ phase }) => phases.push(phase) });
    const ended = ending(run);
    await new Promise((resolve) => setTimeout(resolve, 5));
    const before = [...phases];
    aborter.abort();
    assert.equal((await ended).error.name, "AbortError");
    await assert.rejects(run.finished, { name: "AbortError" });
    assert.deepEqual(phases, before);
  }
});

test("A signal that was aborted before asks nothing.", async () => {
  const { client, calls } = against([broken]);
  await assert.rejects(client.ask("why?", { signal: AbortSignal.abort() }).finished, { name: "AbortError" });
  assert.equal(calls.length, 0);
});

test("An abort ends a pause, and leaves no timer.", async () => {
  const aborter = new AbortController();
  const fetch = async () => streaming([START]);
  const client = createClient({ baseUrl: "http://h", fetch, random: () => 1 });
  const onState = ({ phase }) => phase === "lost" && setTimeout(() => aborter.abort(), 5);
  await assert.rejects(client.ask("why?", { signal: aborter.signal, onState }).finished, { name: "AbortError" });
  assert.deepEqual(process.getActiveResourcesInfo().filter((kind) => kind === "Timeout"), []);
});

test("Who breaks off leaves the run and its connection.", async () => {
  const { client, calls } = against([streaming([START, frame(1, "delta"), null])]);
  const run = client.ask("why?");
  for await (const event of run) if (event.seq === 1) break;
  assert.ok(calls[0].signal.aborted);
  await assert.rejects(run.finished, { name: "AbortError" });
});

test("A run tells its events once: a second iteration, and one beside onEvent, is a mistake.", async () => {
  const { client } = against([() => streaming([START, frame(1, "done")])]);
  const run = client.ask("why?");
  await ending(run);
  assert.ok((await ending(run)).error instanceof TypeError);
  assert.ok((await ending(client.ask("why?", { onEvent() {} }))).error instanceof TypeError);
});

test("An error of a callback is the run's, and nobody comes back for it.", async () => {
  const mine = new Error("mine");
  const onEvent = () => {
    throw mine;
  };
  const { client, calls } = against([streaming([START, null])]);
  await assert.rejects(client.ask("why?", { onEvent }).finished, mine);
  assert.deepEqual([calls.length, calls[0].signal.aborted], [1, true]);
});

test("Coming back online ends the pause at once and starts the row anew; offline is never given up.", async () => {
  const navigator = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  const world = new EventTarget();
  const net = { onLine: false };
  Object.defineProperty(globalThis, "navigator", { value: net, configurable: true });
  globalThis.addEventListener = world.addEventListener.bind(world);
  try {
    let calls = 0;
    const fetch = async () => ((calls += 1) === 1 ? streaming([START]) : net.onLine ? streaming([frame(1, "done")]) : broken());
    const sleep = () => (calls < 20 ? Promise.resolve() : new Promise(() => {}));
    const states = [];
    const run = createClient({ baseUrl: "http://h", fetch, sleep }).ask("why?", { onState: (state) => states.push(state) });
    while (calls < 20) await new Promise((resolve) => setTimeout(resolve, 1));
    net.onLine = true;
    world.dispatchEvent(new Event("online"));
    await run.finished;
    assert.deepEqual([calls, states.at(-2)], [21, { phase: "live", attempt: 0, inMs: 0 }]);
  } finally {
    delete globalThis.addEventListener;
    delete globalThis.navigator;
    if (navigator) Object.defineProperty(globalThis, "navigator", navigator);
  }
});

test("A command is sent to the run once it has an id; what refuses it is told.", async () => {
  const { client, calls } = against([streaming([START, null]), new Response('{"run_id":"r","ended":true}'), problem(409, "nothing_to_accept"), broken]);
  const aborter = new AbortController();
  const run = client.ask("why?", { signal: aborter.signal });
  assert.deepEqual(await run.cancel(), { run_id: "r", ended: true });
  await assert.rejects(run.accept(), { name: "TandemError", code: "nothing_to_accept", runId: "r" });
  await assert.rejects(client.run("a/b"), { code: "unreachable" });
  assert.deepEqual(calls.slice(1).map(({ method, path }) => [method, path]), [["POST", "/v1/runs/r/cancel"], ["POST", "/v1/runs/r/accept"], ["GET", "/v1/runs/a%2Fb"]]);
  aborter.abort();
});

test("A command to a run that never was fails as the run did.", async () => {
  const run = against([problem(429, "rate_limited")]).client.ask("why?");
  await assert.rejects(run.cancel(), { code: "rate_limited" });
});

test("A key stands in a header of every request, in no address and in no error.", async () => {
  const headers = { authorization: `Bearer ${KEY}` };
  const echo = async (init) => Promise.reject(new TypeError(`failed with ${init.headers.get("authorization")}`, { cause: { code: `E ${KEY}` } }));
  const { client, calls } = against([echo], { headers });
  for (const failed of [client.ask("why?").finished, client.cancel("r"), client.resume("r").finished]) {
    const error = await failed.catch((thrown) => thrown);
    assert.doesNotMatch(`${error.stack} ${JSON.stringify(error)} ${error.cause}`, /sk-tandem/);
  }
  assert.deepEqual([...new Set(calls.map((call) => call.headers.get("authorization")))], [`Bearer ${KEY}`]);
  assert.ok(calls.every(({ path }) => !path.includes("sk-tandem")));
});

test("A key that cannot be sent, or that stands in an address, is refused without being repeated.", () => {
  for (const options of [
    { baseUrl: "http://h", headers: { authorization: `Bearer ${KEY}\n` + "\u0000" } },
    { baseUrl: `http://h/?key=${KEY}` },
    { baseUrl: `http://user:${KEY}@h` },
    { baseUrl: `http://h#${KEY}` },
    {},
  ]) {
    assert.throws(() => createClient(options), (error) => error instanceof TypeError && !/sk-tandem/.test(error.stack));
  }
});

test("The address may have a path, and a slash too many.", () => {
  assert.equal(createClient({ baseUrl: "http://h/tandem//" }).url("/v1/reason"), "http://h/tandem/v1/reason");
});

/** An EventSource that a test plays. */
class Played extends EventTarget {
  static made = [];
  constructor(url) {
    super();
    Object.assign(this, { url, closed: false });
    Played.made.push(this);
  }
  tell(name, lastEventId, data) {
    this.dispatchEvent(Object.assign(new Event(name), { lastEventId, data: JSON.stringify(data) }));
  }
  close() {
    this.closed = true;
  }
}

test("Watching asks by the address, and closes behind done.", async () => {
  const { client, calls } = against([broken], { EventSource: Played });
  const run = client.watch({ input: "why & how?", cache: "off" });
  await turn();
  const source = Played.made.at(-1);
  assert.equal(source.url, "http://h/v1/reason?input=why+%26+how%3F&cache=off");
  source.tell("start", "r:0", { source: "cache" });
  source.tell("done", "r:1", {});
  assert.deepEqual((await ending(run)).names, ["start", "done"]);
  assert.deepEqual([run.id, run.source, source.closed, calls.length], ["r", "cache", true, 0]);
});

test("A watch that is lost is closed, and fetch comes back to its run.", async () => {
  const { client, calls } = against([streaming([frame(1, "done")])], { EventSource: Played });
  const run = client.watch("why?");
  await turn();
  const source = Played.made.at(-1);
  source.tell("start", "r:0", {});
  source.dispatchEvent(new Event("error"));
  assert.deepEqual((await ending(run)).names, ["start", "done"]);
  assert.deepEqual([source.closed, places(calls)], [true, [["GET", "/v1/runs/r/events", "r:0"]]]);
});

test("A watch that is lost before its first event is over: asked again it would begin a second race.", async () => {
  const { client, calls } = against([broken], { EventSource: Played });
  const before = Played.made.length;
  const run = client.watch("why?");
  await turn();
  Played.made.at(-1).dispatchEvent(new Event("open"));
  Played.made.at(-1).dispatchEvent(new Event("error"));
  const { error } = await ending(run);
  assert.deepEqual([error.code, calls.length, Played.made.length - before, Played.made.at(-1).closed], ["unreachable", 0, 1, true]);
});

test("A run is watched from behind an event by its own address.", async () => {
  const { client } = against([new Response(null, { status: 204 })], { EventSource: Played });
  const run = client.watch({ runId: "r" }, { lastEventId: "r:4" });
  await turn();
  assert.equal(Played.made.at(-1).url, "http://h/v1/runs/r/events?last_event_id=r%3A4");
  Played.made.at(-1).dispatchEvent(new Event("error"));
  assert.equal(await run.finished, null);
});

test("A watch that is aborted, or whose callback fails, is closed.", async () => {
  const { client } = against([broken], { EventSource: Played });
  const aborter = new AbortController();
  const onEvent = () => {
    throw new Error("mine");
  };
  const left = client.watch("why?", { signal: aborter.signal });
  await turn();
  aborter.abort();
  await assert.rejects(left.finished, { name: "AbortError" });
  assert.ok(Played.made.at(-1).closed);
  const failing = client.watch("why?", { onEvent });
  await turn();
  Played.made.at(-1).tell("start", "r:0", {});
  await assert.rejects(failing.finished, { message: "mine" });
  assert.ok(Played.made.at(-1).closed);
});

test("Watching refuses headers, and says what to do; and what no address may have.", () => {
  assert.throws(() => against([], { headers: { authorization: KEY }, EventSource: Played }).client.watch("why?"), /session/);
  assert.throws(() => against([], { EventSource: undefined }).client.watch("why?"), /EventSource/);
  assert.throws(() => against([], { EventSource: Played }).client.watch({ input: "why?", api_key: KEY }), (error) => /api_key/.test(error.message) && !/sk-tandem/.test(error.message));
});

/** A clock that goes on when it is told to, and the timers that were set. */
function clockOf(t) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let ms = 0;
  t.mock.method(performance, "now", () => ms);
  const set = t.mock.method(globalThis, "setTimeout");
  const pass = (more) => {
    ms += more;
    t.mock.timers.tick(more);
  };
  return { pass, timers: () => set.mock.callCount() };
}

const settle = async () => {
  for (let i = 0; i < 200; i += 1) await Promise.resolve();
};

test("A connection is watched by one timer however much it says, and given up after 45 s without a word.", async (t) => {
  const { pass, timers } = clockOf(t);
  let say;
  const wire = streaming([]);
  const spoken = new Response(new ReadableStream({ start: (controller) => (say = (text) => controller.enqueue(new TextEncoder().encode(text))) }), { headers: wire.headers });
  const { client, calls } = against([spoken, streaming([frame(21, "done")])]);
  const ended = ending(client.ask("why?"));
  await settle();
  say(START);
  for (let seq = 1; seq <= 20; seq += 1) {
    pass(1000);
    say(frame(seq, "delta"));
    await settle();
  }
  assert.equal(timers(), 1);
  pass(44_000);
  await settle();
  assert.equal(calls.length, 1);
  pass(1000);
  await ended;
  assert.equal(calls.length, 2);
});

test("A refusal whose words never end is told all the same.", async (t) => {
  const { pass } = clockOf(t);
  const start = (controller, { signal }) => signal.addEventListener("abort", () => controller.error(signal.reason));
  const { client } = against([(init) => new Response(new ReadableStream({ start: (controller) => start(controller, init) }), { status: 422 })]);
  const ended = ending(client.ask("why?"));
  await settle();
  pass(45_000);
  const { error } = await ended;
  assert.deepEqual([error.status, error.code], [422, "http_422"]);
});
