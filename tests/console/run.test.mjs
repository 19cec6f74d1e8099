// The reducer of app/console/ask/run.js: every ending, and every order that may not be.
import assert from "node:assert/strict";
import { test } from "node:test";
import { canAccept, canStop, elapsedMs, initial, originOf, reduce } from "../../app/console/ask/run.js";

const MODELS = { fast: { model: "local:a" }, slow: { model: "local:b" } };

function play(steps, state = reduce(initial(), { type: "ask", question: "why?" })) {
  return steps.reduce((s, [name, data], i) => {
    const seq = s.seq + 1;
    return reduce(s, { type: "wire", name, id: `r:${seq}`, data, at: 1000 + 10 * i });
  }, state);
}

const start = ["start", { run_id: "r", lanes: MODELS, audit: "durable" }];
const delta = (lane, text, kind = "answer") => ["delta", { lane, text, kind }];
const preliminary = ["preliminary", { lane: "fast", text: "five", ttft_ms: 7, latency_ms: 9 }];
const end = (lane, outcome = "completed", reason = null) => ["lane_end", { lane, outcome, reason, ttft_ms: 7, latency_ms: 9, cost_usd: null }];
const final = (lane, change) => ["final", { lane, change, verified: lane === "slow", text: "five" }];
const done = (status) => ["done", { status, audit: "durable" }];

for (const change of ["confirmed", "revised", "undetermined"]) {
  test(`A run that ends ${change} has both texts, the final and done.`, () => {
    const s = play([start, delta("fast", "five"), preliminary, end("fast"), delta("slow", "five"), end("slow"), final("slow", change), done("completed")]);
    assert.deepEqual([s.phase, s.final.change, s.done.status], ["over", change, "completed"]);
    assert.deepEqual([s.lanes.fast.text, s.lanes.slow.text, s.lanes.slow.state], ["five", "five", "completed"]);
  });
}

test("A slow lane that wins leaves the fast lane cancelled and the final unopposed.", () => {
  const s = play([start, delta("fast", "f"), end("slow"), end("fast", "cancelled", "superseded"), final("slow", "unopposed"), done("completed")]);
  assert.deepEqual([s.lanes.fast.state, s.preliminary, s.final.change], ["cancelled", null, "unopposed"]);
});

for (const [outcome, status] of [["timeout", "partial"], ["cancelled", "cancelled"], ["cancelled", "shutdown"]]) {
  test(`A slow lane that ends ${outcome} in a run that is ${status} leaves the fast answer unverified.`, () => {
    const s = play([start, preliminary, end("fast"), end("slow", outcome), final("fast", "unverified"), done(status)]);
    assert.deepEqual([s.final.lane, s.final.verified, s.lanes.slow.state, s.done.status], ["fast", false, outcome, status]);
  });
}

for (const [outcome, status] of [["timeout", "timeout"], ["failed", "failed"], ["empty", "failed"], ["incomplete", "failed"], ["refused", "failed"], ["cancelled", "cancelled"]]) {
  test(`Two lanes that end ${outcome} leave no final, and done is ${status}.`, () => {
    const s = play([start, end("fast", outcome), end("slow", outcome), done(status)]);
    assert.deepEqual([s.final, s.done.status, s.lanes.fast.state, canStop(s)], [null, status, outcome, false]);
  });
}

test("A lane is waiting, then thinking, then answering; blank text and thinking are no first token.", () => {
  let s = play([start, delta("slow", "  ")]);
  assert.deepEqual([s.lanes.slow.state, s.lanes.slow.firstTokenMs], ["waiting", null]);
  s = play([delta("slow", "hm", "thinking")], s);
  assert.deepEqual([s.lanes.slow.state, s.lanes.slow.thinking, s.lanes.slow.firstTokenMs], ["thinking", "hm", null]);
  s = play([["delta", {}], delta("slow", "5"), delta("slow", "more", "thinking")], s);
  assert.deepEqual([s.lanes.slow.state, s.lanes.slow.firstTokenMs], ["answering", 10]);
});

test("A preliminary that differs from the deltas replaces them as a new edition; an equal one does not.", () => {
  assert.deepEqual([play([start, delta("fast", "five"), preliminary]).lanes.fast.edition], [0]);
  const s = play([start, delta("fast", "fi"), preliminary]);
  assert.deepEqual([s.lanes.fast.text, s.lanes.fast.edition], ["five", 1]);
});

test("The preliminary may be taken only while the slow lane still runs.", () => {
  assert.equal(canAccept(play([start])), false);
  assert.equal(canAccept(play([start, preliminary, end("fast")])), true);
  assert.equal(canAccept(play([start, preliminary, end("fast"), end("slow")])), false);
});

test("An event that was already seen, of another run, or without a usable id changes nothing.", () => {
  const s = play([start, delta("fast", "a")]);
  for (const id of ["r:1", "r:0", "q:2", "r:x", "", ":", "5"])
    assert.equal(reduce(s, { type: "wire", name: "delta", id, data: delta("fast", "b")[1], at: 0 }), s, id);
});

test("Before start nothing but start counts, and a second start changes no lane.", () => {
  const asked = reduce(initial(), { type: "ask", question: "why?" });
  for (const step of [delta("fast", "a"), preliminary, end("fast"), final("fast", "unverified"), done("failed"), ["error", {}]])
    assert.equal(play([step], asked), asked);
  const s = play([start]);
  assert.equal(play([start], s), s);
});

test("Nothing follows done, unless it is a new question.", () => {
  const s = play([start, end("fast"), end("slow"), done("failed")]);
  for (const step of [start, delta("fast", "a"), preliminary, final("slow", "confirmed"), done("completed")]) assert.equal(play([step], s), s);
  for (const type of ["lost", "refused", "ended", "stopped", "notice", "opened", "nonsense", "__proto__"]) assert.equal(reduce(s, { type }), s);
  assert.equal(reduce(s, { type: "ask", question: "again" }).phase, "asking");
});

test("A replay is from the cache, a shared run is joined, and who joined may leave it but not take its preliminary.", () => {
  const opened = (source) => reduce(reduce(initial(), { type: "ask", question: "why?" }), { type: "opened", runId: "r", source });
  const cached = ["start", { ...start[1], source: "cache" }];
  assert.deepEqual([originOf(opened("live")), originOf(play([cached], opened("cache"))), originOf(opened("attached"))], ["live", "cache", "attached"]);
  const [mine, shared] = ["live", "attached"].map((source) => play([start, delta("fast", "five"), preliminary], opened(source)));
  assert.deepEqual([canAccept(mine), canAccept(shared), canStop(shared)], [true, false, true]);
});

test("A late delta, an unknown lane, a second end or final, and unreadable data are ignored.", () => {
  let s = play([start, delta("fast", "a"), end("fast"), delta("fast", "b"), end("fast", "failed"), delta("third", "x"), end("third"), final("third", "confirmed")]);
  assert.deepEqual([s.lanes.fast.text, s.lanes.fast.state, s.final, Object.keys(s.lanes)], ["a", "completed", null, ["fast", "slow"]]);
  s = play([["delta", null], ["delta", "text"], ["delta", { lane: "slow" }], ["delta", { lane: "__proto__", text: "x" }]], s);
  assert.equal(s.lanes.slow.text, "");
  s = play([final("slow", "revised"), final("fast", "confirmed"), delta("slow", "z")], s);
  assert.deepEqual([s.final.change, s.lanes.slow.text], ["revised", "five"]);
});

test("A lost connection is shown with its attempt, and the next event makes the run live again.", () => {
  const lost = reduce(play([start]), { type: "lost", attempt: 2 });
  assert.deepEqual([lost.phase, lost.attempt, canStop(lost)], ["lost", 2, true]);
  assert.deepEqual([play([delta("fast", "a")], lost).phase], ["live"]);
});

test("A refusal ends the run with its problem; a question asked while one runs is ignored.", () => {
  const asked = reduce(initial(), { type: "ask", question: "why?" });
  assert.equal(reduce(asked, { type: "ask", question: "other" }), asked);
  const s = reduce(asked, { type: "refused", problem: { code: "too_many_runs" }, at: 5 });
  assert.deepEqual([s.phase, s.problem.code], ["over", "too_many_runs"]);
});

test("A lane's clock runs from start, and stops with its end or with the run.", () => {
  const s = play([start, end("fast")]);
  assert.deepEqual([elapsedMs(initial(), "fast", 5), elapsedMs(s, "fast", 5000), elapsedMs(s, "slow", 1500)], [null, null, 500]);
  const cut = reduce(s, { type: "refused", problem: {}, at: 1200 });
  assert.equal(elapsedMs(cut, "slow", 9000), 200);
});

test("The state that came before is never changed.", () => {
  const s = play([start]);
  const copy = structuredClone(s);
  play([delta("fast", "a"), preliminary, end("fast")], s);
  assert.deepEqual(s, copy);
});

test("A question that waits for a connection, or for an answer, says so until the server begins.", () => {
  const asked = reduce(initial(), { type: "ask", question: "why?" });
  const queued = reduce(asked, { type: "queued" });
  assert.deepEqual([queued.hold, reduce(queued, { type: "freed" }).hold, reduce(queued, { type: "late" }).hold], ["queued", null, "late"]);
  assert.equal(play([start], queued).hold, null);
  assert.equal(reduce(play([start]), { type: "late" }).hold, null);
});

test("A run that is come back to keeps its question, its options and whose it is.", () => {
  const body = { input: "why?", slow: { timeout_s: 9 } };
  const s = play([start], reduce(reduce(initial(), { type: "ask", question: "why?", body, resumed: true }), { type: "opened", runId: "r", source: "attached" }));
  assert.deepEqual([s.body, s.resumed, s.runId, originOf(s)], [body, true, "r", "attached"]);
});
