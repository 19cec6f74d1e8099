// What the client promises, against a real server: [rule, test(world)]; plain ES, for Node and for a browser's page.
// world: baseUrl, key, watching (options for watch()), and the server's bounds: races, streams, kept (runs).
import { TandemError, createClient } from "../../../clients/js/src/tandem.js";

const NAMES = ["start", "delta", "preliminary", "lane_end", "final", "done"];
const SHORT = { fast: { model: "scripted:fast?first=0.01&gap=0&tokens=3" }, slow: { model: "scripted:slow?first=0.03&gap=0&tokens=3" }, cache: "off" };
const TINY = { ...SHORT, fast: { model: "scripted:fast?first=0.01&gap=0&tokens=1" }, slow: { model: "scripted:slow?first=0.03&gap=0&tokens=1" } };
const LONG = { ...SHORT, slow: { model: "scripted:slow?first=0.1&gap=0.01&tokens=30" } };
const ENDLESS = { ...SHORT, slow: { model: "scripted:hang" } };

const soon = { sleep: () => new Promise((resolve) => setTimeout(resolve, 1)) };
const labelled = (question = SHORT) => ({ input: "Why?", experiment: crypto.randomUUID(), ...question });

function equal(found, wanted) {
  const [left, right] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (left !== right) throw new Error(`found ${left?.slice(0, 600)}, wanted ${right?.slice(0, 600)}`);
}

const client = (world, options = {}) =>
  createClient({ baseUrl: world.baseUrl, headers: { authorization: `Bearer ${world.key}` }, ...soon, ...options });

async function all(run) {
  const events = [];
  for await (const event of run) events.push(event);
  return events;
}

const bare = (events) => events.map(({ name, id, data }) => [name, id, data]);
const failure = (promise) => promise.then((value) => new Error(`no failure, but ${JSON.stringify(value)}`), (error) => error);

/** The finished stream of a run, as bytes. */
async function recorded(world, runId) {
  const response = await fetch(`${world.baseUrl}/v1/runs/${runId}/events`, { headers: { authorization: `Bearer ${world.key}` } });
  return new Uint8Array(await response.arrayBuffer());
}

/** How many runs there are of a question, once all have ended: a record comes a moment after its stream. */
async function runsOf(world, { experiment }) {
  const address = `${world.baseUrl}/api/experiments?experiment=${experiment}`;
  for (let looks = 1000; looks > 0; looks -= 1) {
    const response = await fetch(address, { headers: { authorization: `Bearer ${world.key}` } });
    const { experiments } = await response.json();
    if (experiments.length > 0 && experiments.every(({ status }) => status !== "running")) return experiments.length;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("the record of the run did not come");
}

/** A response of these chunks. */
function chunked(chunks) {
  const left = [...chunks];
  const pull = (controller) => (left.length > 0 ? controller.enqueue(left.shift()) : controller.close());
  return new Response(new ReadableStream({ pull }), { headers: { "content-type": "text/event-stream" } });
}

/** A fetch whose streams break after so many bytes, as often as told; what was asked is written down. */
function breaking(after, times) {
  const asked = [];
  async function fetchAndBreak(url, init) {
    asked.push([init.method ?? "GET", init.headers.get("last-event-id")]);
    const response = await fetch(url, init);
    if (times-- <= 0 || response.status !== 200) return response;
    const reader = response.body.getReader();
    let left = after;
    const pull = async (controller) => {
      const { done, value } = await reader.read();
      if (done) return controller.close();
      controller.enqueue(value.subarray(0, left));
      left -= value.length;
      if (left > 0) return undefined;
      reader.cancel();
      return controller.error(new TypeError("broken"));
    };
    return new Response(new ReadableStream({ pull }), { headers: response.headers });
  }
  return { fetch: fetchAndBreak, asked };
}

export const rules = [
  ["A question is iterated to done: every event once, in order, with the phases told.", async (world) => {
    const phases = [];
    const run = client(world).ask(labelled(), { onState: ({ phase }) => phases.push(phase) });
    const events = await all(run);
    equal(events.map(({ seq }) => seq), events.map((_, index) => index));
    equal([...new Set(events.map(({ name }) => name))].sort(), [...NAMES].sort());
    equal([events[0].name, events.at(-1).name, events[0].data.run_id, run.source], ["start", "done", run.id, "live"]);
    equal([typeof events[0].data.lanes.fast.model, run.done.status, await run.finished], ["string", "completed", run.done]);
    equal([phases, run.lastEventId], [["asking", "live", "over"], events.at(-1).id]);
  }],
  ["Callbacks are told what an iteration would be.", async (world) => {
    const events = [];
    const run = client(world).ask(labelled(), { onEvent: (event) => events.push(event) });
    equal((await run.finished).status, "completed");
    equal(bare(events), bare(await all(client(world).resume(run.id))));
    equal(events.every(({ at }, index) => at >= events[Math.max(0, index - 1)].at), true);
  }],
  ["A stored answer says that it is one, and a question that is being answered is joined.", async (world) => {
    const question = { ...labelled(), cache: "use" };
    await client(world).ask(question).finished;
    const stored = client(world).ask(question);
    await stored.finished;
    equal(stored.source, "cache");
    const pending = { ...ENDLESS, cache: "use", input: crypto.randomUUID() };
    const first = client(world).ask(pending);
    for await (const { name } of first) if (name === "start") break;
    const second = client(world).ask(pending);
    for await (const { name } of second) if (name === "start") break;
    equal([second.id, second.source], [first.id, "attached"]);
    // refused while the server has not seen the other reader leave
    let refused = await failure(client(world).cancel(first.id));
    for (let tries = 200; tries > 0 && refused.code === "run_shared"; tries -= 1) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      refused = await failure(client(world).cancel(first.id));
    }
    equal((await client(world).resume(first.id).finished).status, "cancelled");
  }],
  ["A run that is cancelled ends so, and may be cancelled again.", async (world) => {
    const run = client(world).ask(labelled(ENDLESS));
    equal(await run.cancel(), { run_id: run.id, ended: false });
    equal((await run.finished).status, "cancelled");
    equal((await run.cancel()).ended, true);
  }],
  ["The preliminary is accepted once it is there, and not before.", async (world) => {
    const early = client(world).ask(labelled({ ...ENDLESS, fast: { model: "scripted:hang" } }));
    equal((await failure(early.accept())).code, "nothing_to_accept");
    await early.cancel();
    const run = client(world).ask(labelled(ENDLESS));
    for await (const { name } of run) if (name === "preliminary") await run.accept();
    equal([run.done.status, run.done.reason], ["partial", "accepted"]);
  }],
  ["A run is resumed behind each of its events; behind the last there is nothing.", async (world) => {
    const run = client(world).ask(labelled());
    const events = await all(run);
    for (let seen = 0; seen < events.length; seen++) {
      const resumed = client(world).resume(run.id, { lastEventId: events[seen].id });
      equal(bare(await all(resumed)), bare(events.slice(seen + 1)));
      equal(resumed.done === null, seen === events.length - 1);
    }
    equal(bare(await all(client(world).resume(run.id))), bare(events));
  }],
  ["A stream that is cut in two at any byte, or comes byte by byte, gives the same events.", async (world) => {
    const run = client(world).ask(labelled(TINY));
    const events = JSON.stringify(bare(await all(run)));
    const bytes = await recorded(world, run.id);
    const cuts = Array.from(bytes, (_, at) => [bytes.slice(0, at), bytes.slice(at)]).filter((_, at) => at % world.stride === 0);
    for (const chunks of [...cuts, Array.from(bytes, (byte) => Uint8Array.of(byte))]) {
      const told = [];
      await client(world, { fetch: async () => chunked(chunks) }).resume(run.id, { onEvent: (event) => told.push(event) }).finished;
      equal(JSON.stringify(bare(told)), events);
    }
  }],
  ["A connection that ends anywhere is come back from, and every event comes once.", async (world) => {
    const run = client(world).ask(labelled(TINY));
    const events = bare(await all(run));
    const bytes = await recorded(world, run.id);
    for (let at = 1; at < bytes.length; at += 31 * Math.ceil(world.stride / 4)) {
      const wire = breaking(at, 1);
      equal(bare(await all(client(world, { fetch: wire.fetch }).resume(run.id))), events);
      const whole = new TextDecoder().decode(bytes.slice(0, at)).split("\n\n").length - 1;
      equal(wire.asked, [["GET", null], ["GET", whole === 0 ? null : events[whole - 1][1]]]);
    }
  }],
  ["A run whose connection is lost again and again is one run, begun once.", async (world) => {
    const question = labelled(LONG);
    const wire = breaking(900, 6);
    const phases = [];
    const run = client(world, { fetch: wire.fetch }).ask(question, { onState: ({ phase }) => phases.push(phase) });
    const events = await all(run);
    equal(bare(events), bare(await all(client(world).resume(run.id))));
    equal([wire.asked.length, wire.asked.filter(([method]) => method === "POST").length], [7, 1]);
    equal(phases.filter((phase) => phase === "lost").length, 6);
    equal(await runsOf(world, question), 1);
  }],
  ["A question whose answer got lost is asked again and answered by the run that it began.", async (world) => {
    const question = labelled(LONG);
    let calls = 0;
    const forgetful = async (url, init) => {
      const response = await fetch(url, init);
      if ((calls += 1) > 1) return response;
      await response.body.cancel();
      throw new TypeError("lost");
    };
    const run = client(world, { fetch: forgetful }).ask(question);
    equal([(await run.finished).status, run.source, await runsOf(world, question)], ["completed", "live", 1]);
  }],
  ["A server that does not come back is given up, with the run's id.", async (world) => {
    const wire = breaking(600, 1);
    const away = async (url, init) => (wire.asked.length > 0 ? Promise.reject(new TypeError("away")) : wire.fetch(url, init));
    const error = await failure(client(world, { fetch: away }).ask(labelled()).finished);
    equal([error instanceof TandemError, error.code, error.retryable, typeof error.runId], [true, "connection_lost", true, "string"]);
  }],
  ["Noise and broken events on the way do no harm.", async (world) => {
    const run = client(world).ask(labelled());
    const events = bare(await all(run));
    const text = new TextDecoder().decode(await recorded(world, run.id));
    const spoilt = [
      text.replaceAll("\n", "\r\n"),
      text.replaceAll("\n\n", "\n\n: ping\n\n"),
      `\ufeff${text}`,
      text.replace('"text"', '"te'),
      text.replace(/id: .*:2\n/, "id: what\n"),
      text.slice(0, 700).repeat(2),
      "\u0000\ufffd<html>",
    ];
    for (const one of spoilt) {
      let calls = 0;
      const fetchSpoilt = async (url, init) => ((calls += 1) === 1 ? chunked([new TextEncoder().encode(one)]) : fetch(url, init));
      equal(bare(await all(client(world, { fetch: fetchSpoilt }).resume(run.id))), events);
    }
  }],
  ["What is refused tells its status and code: 401, 404, 409, 410, 422.", async (world) => {
    const told = async (promise) => failure(promise).then(({ status, code, retryable }) => [status, code, retryable]);
    const here = client(world);
    const none = "01900000-0000-7000-8000-000000000000";
    equal(await told(client(world, { headers: { authorization: "Bearer nothing" } }).ask("Why?").finished), [401, "unauthenticated", false]);
    equal(await told(here.resume(none).finished), [404, "run_not_found", false]);
    equal(await told(here.cancel(none)), [404, "run_not_found", false]);
    equal(await told(here.run(none)), [404, "run_not_found", false]);
    equal(await told(here.ask({ input: "Why?", policy: "toss a coin" }).finished), [422, "unknown_policy", false]);
    const idempotencyKey = crypto.randomUUID();
    const run = here.ask(labelled(), { idempotencyKey });
    await run.finished;
    equal((await here.run(run.id)).status, "completed");
    equal(await told(here.resume(run.id, { lastEventId: `${run.id}:9999` }).finished), [422, "bad_last_event_id", false]);
    equal(await told(here.ask({ ...labelled(), input: "Who?" }, { idempotencyKey }).finished), [409, "idempotency_key_reused", false]);
    for (let others = 0; others < world.kept; others++) await here.ask(labelled()).finished;
    equal(await told(here.resume(run.id).finished), [410, "run_expired", false]);
  }],
  ["Who has too many streams, and who comes to a server that is full, is told when to come back.", async (world) => {
    const told = async (run) => failure(run.finished).then(({ status, retryable, retryAfter }) => [status, retryable, retryAfter > 0]);
    /** A run whose stream is open. */
    const open = (begin) =>
      new Promise((resolve) => {
        const run = begin({ onEvent() {}, onState: ({ phase }) => phase === "live" && resolve(run) });
      });
    const races = [];
    while (races.length < world.races) races.push(await open((options) => client(world).ask(labelled(ENDLESS), options)));
    equal(await told(client(world).ask(labelled())), [503, true, true]);
    const readers = [];
    while (races.length + readers.length < world.streams) readers.push(await open((options) => client(world).resume(races[0].id, options)));
    equal(await told(client(world).ask(labelled())), [429, true, true]);
    await Promise.all(races.map((run) => run.cancel()));
    equal(await Promise.all([...races, ...readers].map(({ finished }) => finished.then(({ status }) => status))), Array(world.streams).fill("cancelled"));
  }],
  ["Aborting, and breaking off, ends the reading and not the run.", async (world) => {
    const aborter = new AbortController();
    const question = { ...labelled(LONG), on_disconnect: "finish" };
    const run = client(world).ask(question, { signal: aborter.signal });
    const error = await failure((async () => {
      for await (const { seq } of run) if (seq === 2) aborter.abort();
    })());
    equal([error.name, (await failure(run.finished)).name], ["AbortError", "AbortError"]);
    equal((await client(world).resume(run.id, { lastEventId: run.lastEventId }).finished).status, "completed");
  }],
  ["A run is watched over an EventSource, from its question or from an event, and begun once.", async (world) => {
    const question = { input: "Why?", cache: "off", experiment: crypto.randomUUID() };
    const here = createClient({ baseUrl: world.baseUrl, ...soon, ...world.watching });
    const run = here.watch(question);
    const events = bare(await all(run));
    equal([run.done.status, run.source, bare(await all(client(world).resume(run.id)))], ["completed", "live", events]);
    equal(bare(await all(here.watch({ runId: run.id }, { lastEventId: events[3][1] }))), events.slice(4));
    equal((await failure(here.watch({ input: "Why?", policy: "toss a coin" }).finished)).code, "unreachable");
    equal(await here.watch({ runId: run.id }, { lastEventId: events.at(-1)[1] }).finished, null);
    equal((await failure(here.watch({ runId: "01900000-0000-7000-8000-000000000000" }).finished)).code, "run_not_found");
    equal(await runsOf(world, question), 1);
  }],
];

/** Over a wire that breaks by itself: asking and watching are come back to. */
export const broken = [
  ["Asking and watching over a wire that breaks gives every event once, of one run each.", async (world) => {
    for (const begin of [(question) => client(world).ask(question), (question) => createClient({ baseUrl: world.baseUrl, ...soon, ...world.watching }).watch(question)]) {
      const question = { input: "Why?", cache: "off", experiment: crypto.randomUUID() };
      const run = begin(question);
      equal(bare(await all(run)), bare(await all(client(world).resume(run.id))));
      equal(await runsOf(world, question), 1);
    }
  }],
];
