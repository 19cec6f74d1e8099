// app/console/ask/verdict.js and race.js: a run in one sentence, what is said aloud of it, and when what happened.
import assert from "node:assert/strict";
import { test } from "node:test";
import { raceOf, ticksOf } from "../../app/console/ask/race.js";
import { initial, reduce } from "../../app/console/ask/run.js";
import { answerOf, heardOf, problemWords, searchOf, sentenceOf, verdictOf } from "../../app/console/ask/verdict.js";

const START = ["start", { run_id: "r", lanes: { fast: { model: "a" }, slow: { model: "b" } }, deadline_ms: 50_000 }];
const PRELIMINARY = ["preliminary", { lane: "fast", text: "five", ttft_ms: 7, latency_ms: 90 }];
const end = (lane, outcome = "completed", ms = 100) => ["lane_end", { lane, outcome, ttft_ms: 7, latency_ms: ms }];
const final = (change, lane = "slow") => ["final", { lane, change, verified: lane === "slow", text: "six" }];
const done = (status, reason = null) => ["done", { status, reason }];

const asked = (body) => reduce(initial(), { type: "ask", question: "why?", body });
const play = (steps, state = asked({ input: "why?" })) =>
  steps.reduce((s, [name, data]) => reduce(s, { type: "wire", name, id: `r:${s.seq + 1}`, data, at: 1000 }), state);
const kind = (state) => verdictOf(state)[0];

test("A run's verdict is its phase, then the change of its final, else the status of its end.", () => {
  assert.deepEqual([kind(asked()), kind(play([START])), kind(play([START, PRELIMINARY]))], ["asking", "live", "live"]);
  for (const change of ["confirmed", "revised", "undetermined"]) assert.equal(kind(play([START, PRELIMINARY, final(change)])), change);
  assert.equal(kind(play([START, end("fast", "failed"), end("slow", "failed"), done("failed")])), "failed");
});

for (const [reason, word] of [["accepted", "took"], ["cancelled", "stopped"], ["shutdown", "server was stopped"]]) {
  test(`An unverified answer says that it was ${reason}.`, () => {
    const s = play([START, PRELIMINARY, end("fast"), end("slow", "cancelled"), final("unverified", "fast"), done(reason === "accepted" ? "partial" : reason, reason)]);
    assert.ok(sentenceOf(s).includes(word), sentenceOf(s));
  });
}

test("Of a run whose server was cut off it is not said that no model completed: one may have.", () => {
  const s = play([START, PRELIMINARY, end("fast"), done("failed", "interrupted")]);
  assert.deepEqual([kind(s), sentenceOf(s)], ["failed", "The server was cut off before the run had ended."]);
});

test("Who has ended is not said to be working.", () => {
  assert.ok(sentenceOf(play([START])).startsWith("Both models"));
  assert.ok(sentenceOf(play([START, end("fast", "failed")])).endsWith("The slow model is still working."));
  assert.ok(sentenceOf(play([START, end("slow", "refused")])).endsWith("The fast model is still working."));
});

test("States are said aloud once, tokens never, and the answer when it stands.", () => {
  const said = [];
  const steps = [START, ["delta", { lane: "fast", text: "fi" }], ["delta", { lane: "fast", text: "ve" }], PRELIMINARY, end("fast"), ["delta", { lane: "slow", text: "six" }], end("slow"), final("revised"), done("completed")];
  let state = asked();
  for (const step of steps) {
    const next = play([step], state);
    said.push(heardOf(state, next));
    state = next;
  }
  assert.deepEqual(said.map((words) => words.split(".")[0]), ["Working", "", "", "Preliminary", "", "", "", "Revised", ""]);
  assert.ok(said[7].endsWith("Slow: six"));
});

test("A lost connection shows its attempt with a countdown, and being offline instead.", () => {
  const lost = reduce(play([START]), { type: "lost", attempt: 3, retryAt: 5000 });
  assert.ok(searchOf(lost, 2500).includes("attempt 3 in 3 s"));
  assert.ok(searchOf(lost, 9000).endsWith("attempt 3."));
  assert.ok(searchOf(lost, 2500, false).includes("offline"));
  assert.equal(searchOf(play([START]), 2500), "");
});

test("A refusal says what to do, and when.", () => {
  const words = problemWords({ detail: "5 runs are live", code: "too_many_streams", retryAfter: 4.2 });
  assert.ok(words.startsWith("5 runs are live. ") && words.endsWith("Try again in 5 s."), words);
  assert.equal(problemWords({ detail: "So.", code: "nobody_knows" }), "So.");
});

test("What is copied is the final, else the preliminary, else what there is.", () => {
  assert.equal(answerOf(play([START, PRELIMINARY, final("revised")])), "six");
  assert.equal(answerOf(play([START, PRELIMINARY])), "five");
  assert.equal(answerOf(play([START, ["delta", { lane: "slow", text: "si" }]])), "si");
});

test("A race has the times of the server, and those of the page while a lane runs.", () => {
  assert.equal(raceOf(asked(), 0), null);
  const race = raceOf(play([START, PRELIMINARY, end("fast")]), 1500);
  assert.deepEqual([race.lanes.fast.end, race.lanes.slow.end, race.lanes.slow.ended, race.preliminary, race.final], [100, 500, false, 90, null]);
});

test("A limit is drawn when it was chosen, struck, or near; one out of sight is not.", () => {
  const body = { input: "why?", slow: { timeout_s: 0.12 } };
  const chosen = raceOf(play([START, PRELIMINARY, end("fast")], asked(body)), 1100);
  assert.deepEqual(chosen.limits, [{ lane: "slow", ms: 120 }]);
  const struck = raceOf(play([START, end("fast", "timeout", 5000)]), 6000);
  assert.deepEqual(struck.limits, [{ lane: "fast", ms: 5000 }]);
});

test("Ticks are round, and few.", () => {
  assert.deepEqual([ticksOf(1000), ticksOf(1.3).length < 9], [[0, 200, 400, 600, 800, 1000], true]);
});
