// The pure parts of app/console/insight: filters, the gate, and what is said of the server's numbers.
import assert from "node:assert/strict";
import { test } from "node:test";
import { optionsOf } from "../../app/console/insight/bar.js";
import { arenasOf, chosenOf } from "../../app/console/insight/contest.js";
import { createAsker, createGate } from "../../app/console/insight/gate.js";
import { priceOf } from "../../app/console/insight/money.js";
import { filtersOf, hashOf, inTime, selectionOf, stepOf, timeAxis } from "../../app/console/insight/query.js";
import { size } from "../../app/console/insight/saved.js";
import { contestMethod, contestSentence, laneAdvice, spentWords } from "../../app/console/insight/sentences.js";
import { atTime } from "../../app/console/insight/times.js";
import { priceOfChange, specOf as verdictSpec } from "../../app/console/insight/verdicts.js";
import { explain } from "../../app/console/insight/words.js";

const NOW = Date.UTC(2026, 10, 22, 12);
const HOUR = 3_600_000;
const read = (hash) => filtersOf(new URLSearchParams(hash));

test("The hash keeps the filters, and says nothing of what is as it is anyway.", () => {
  assert.equal(hashOf(read("")), "#/insight");
  const hash = "#/insight?span=7d&time=first_token&experiment=a+b%26c&of=e&a=x";
  assert.equal(hashOf(read(hash.split("?")[1])), hash);
});

test("What a hash says that is not understood is left at its default.", () => {
  const filters = read(`span=century&time=never&model=${"m".repeat(500)}&hack=1`);
  assert.deepEqual([filters.span, filters.time, filters.model.length, filters.hack], ["24h", "total", 200, undefined]);
});

test("A span begins that long ago; everything begins nowhere; hours are counted as far as the server does so.", () => {
  assert.deepEqual(selectionOf(read("span=1h&variant=b"), NOW), { since: "2026-11-22T11:00:00.000Z", variant: "b" });
  assert.deepEqual(selectionOf(read("span=all"), NOW), {});
  assert.deepEqual(["1h", "24h", "7d", "all"].map((span) => stepOf({ span })), ["hour", "hour", "day", "day"]);
});

test("Points in time are in order, and one behind a missing hour says so.", () => {
  const groups = [4, 0, 1].map((h) => ({ key: { hour: new Date(NOW + h * HOUR).toISOString() } }));
  assert.deepEqual(inTime(groups, "hour").map((p) => [(p.x - NOW) / HOUR, p.after]), [[0, false], [1, false], [4, true]]);
});

test("The axis of time holds the running step, and is never a single bar wide.", () => {
  const axis = timeAxis([{ x: NOW }], "hour", NOW + HOUR / 2);
  assert.deepEqual([axis.high - NOW, axis.high - axis.low], [HOUR, 3 * HOUR]);
});

test("At most so many tasks run at once, in the order they came; a failed one makes room too.", async () => {
  const gate = createGate(2);
  let running = 0;
  let most = 0;
  const begun = [];
  const task = (name) => async () => {
    begun.push(name);
    most = Math.max(most, ++running);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
    if (name === 1) throw new Error("no");
  };
  const all = await Promise.allSettled([0, 1, 2, 3, 4].map((name) => gate(task(name))));
  assert.deepEqual([most, begun, all[1].status], [2, [0, 1, 2, 3, 4], "rejected"]);
});

test("A task that was aborted before its turn is never begun.", async () => {
  const gate = createGate(1);
  const aborter = new AbortController();
  let begun = false;
  const first = gate(() => new Promise((resolve) => setImmediate(resolve)));
  const second = gate(() => { begun = true; }, aborter.signal);
  aborter.abort();
  await first;
  await assert.rejects(second, { name: "AbortError" });
  assert.equal(begun, false);
});

test("The same question is asked once, and all who asked share its answer.", async () => {
  const asked = [];
  const ask = createAsker({ getJSON: async (path, { params }) => asked.push([path, params]) }, createGate(2), null);
  await Promise.all([ask("/a", { x: 1 }), ask("/a", { x: 1 }), ask("/a", { x: 2 })]);
  assert.equal(asked.length, 2);
});

const curve = { n: 10, curve: [{ at: 100, share: 0.4, low: 0.2, high: 0.7, at_risk: 10 }, { at: 300, share: 0.8, low: 0.5, high: 0.9, at_risk: 5 }] };

test("Between two steps of a curve the earlier holds; before the first nothing had ended; past the last nothing is known.", () => {
  assert.deepEqual([99, 100, 250, 300].map((at) => atTime(curve, at).share), [0, 0.4, 0.4, 0.8]);
  assert.equal(atTime(curve, 301), null);
  assert.equal(atTime({ ...curve, curve: [{ at: 5, share: 1 }] }, 301).share, 1);
});

test("Advice gives the server's reason, also where there is no advice.", () => {
  const advice = (ms) => ({ advised_timeout: { ms, reason: "Because." } });
  assert.equal(laneAdvice("fast", advice(900), 5000), "Fast: 900 ms would do (set: 5 s). Because.");
  assert.equal(laneAdvice("slow", advice(null), null), "Slow: no timeout can be advised. Because.");
});

const group = (fast, slow) => ({ lanes: { fast: { n: 10, cost: { n: fast === null ? 0 : 10, sum_usd: fast } }, slow: { n: 10, cost: { n: slow === null ? 0 : 10, sum_usd: slow } } } });

test("A sum of which a part is unknown is the least it can be, and a sum of nothing known is unknown, not 0.", () => {
  assert.deepEqual([group(0.5, 1), group(null, 1), group(null, null), group(0, 0)].map(spentWords), ["$1.5000", "at least $1.0000", "unknown", "$0"]);
});

test("The price of an answer is the mean of the runs whose cost is known, over the share of runs that gave one.", () => {
  const total = { n: 100, cost: { n: 50, sum_usd: 1 }, agreement: { agree: 40 } };
  assert.ok(Math.abs(priceOf(total, "agree") - 0.05) < 1e-12);
  assert.deepEqual([priceOf(total, "disagree"), priceOf({ ...total, cost: { n: 0, sum_usd: null } }, "agree")], [null, null]);
});

test("The price of one changed answer is unknown where no cost is known or nothing was changed.", () => {
  const total = (mean, share) => ({ extra_cost_usd: { mean }, disagree: { share } });
  assert.deepEqual([priceOfChange(total(0.01, 0.25)), priceOfChange(total(null, 0.25)), priceOfChange(total(0.01, 0))], [0.04, null, null]);
});

const share = (n, hits) => ({ n, hits, share: n ? hits / n : null, low: n ? 0.1 : null, high: n ? 0.9 : null });
const compared = (name, n) => ({ class: name, n, agree: share(n, n), unknown: share(n, 0), disagree: share(n, 0) });

test("A class of few runs is said to be too small; classes stand by their size, below all of them together.", () => {
  const rows = verdictSpec({ total: compared(null, 25), classes: [compared("rare", 5), compared("maths", 20)] }).rows;
  assert.deepEqual(rows.map((row) => [row.label, row.said]), [["All classes", "100 % of 25"], ["maths", "100 % of 20"], ["rare", "5: too few"]]);
});

test("Only experiments with two variants can be compared, and what is named but not there gives way.", () => {
  const groups = [["e", "b", 9], ["e", "a", 5], ["f", "x", 30], [null, null, 99]].map(([experiment, variant, n]) => ({ key: { experiment, variant }, n }));
  assert.deepEqual(arenasOf(groups), { e: ["a", "b"] });
  assert.deepEqual(chosenOf({ e: ["a", "b"] }, { a: "b", b: "gone", metric: "agreement", part: "slow" }), { of: "e", a: "b", b: "a", metric: "agreement", part: "run" });
});

const contest = (value, low, high, more = {}) => ({
  metric: "latency", part: "run", unit: "ms", a: { variant: "a" }, b: { variant: "b" }, verdict: "Said so.", paired: false, questions: { n: 40, of_both: 3 },
  difference: { value, low, high, method: "bootstrap", resamples: 2000, n: 40 }, mcnemar: null, ...more,
});

test("A difference is called one only where its interval excludes 0, in words that say which way.", () => {
  assert.match(contestSentence(contest(-1200, -2000, -500)), /b is 1.20 s faster than a \(95 % interval: 500 ms to 2.00 s\)/);
  assert.match(contestSentence(contest(300, -100, 700)), /no difference between a and b can be told from chance. Said so./);
  assert.match(contestSentence(contest(300, null, null)), /b looks 300 ms slower than a, but Said so./);
  assert.match(contestSentence(contest(0, 0, 0)), /no difference between a and b was seen/);
  assert.equal(contestSentence(contest(null, null, null)), "Said so.");
});

test("Shares differ by percentage points, and a small p is not called 0.", () => {
  const answer = contest(0.1, 0.05, 0.15, { unit: "share", metric: "correct", mcnemar: { n: 30, a_only: 1, b_only: 20, p_exact: 1e-9 } });
  assert.match(contestSentence(answer), /b is 10 percentage points higher than a/);
  assert.match(contestMethod(answer).join(" "), /p = below 0.001 \(a alone in 1, b alone in 20\)/);
});

test("The refusals of the server become what to do instead.", () => {
  const refused = (detail) => explain({ status: 422, code: "invalid_request", title: "The request is not valid", detail });
  assert.deepEqual(refused("by: hour takes a span (since, until) of at most 3 days, day any").fix, { change: { span: "24h" }, words: "Show 24 hours" });
  assert.match(refused("by: that makes more than 1000 groups; narrow the filters or the keys").detail, /shorter span/);
  assert.equal(refused("since: is wrong").detail, "since: is wrong");
  assert.match(explain({ status: 503, code: "record_unavailable", retryAfter: 5 }).detail, /Nothing is lost.*Try again in 5.00 s/);
});

test("Options count both lanes of a pair, and leave out what only replays have.", () => {
  const groups = [{ key: { fast_model: "m", slow_model: "n" }, n: 3 }, { key: { fast_model: "m", slow_model: "m" }, n: 2 }, { key: { fast_model: "gone", slow_model: null }, n: 0 }];
  assert.deepEqual(optionsOf(groups, ["fast_model", "slow_model"]), [{ value: "m", n: 5 }, { value: "n", n: 3 }]);
});

test("Sizes are told with three digits, and one that could not be asked is unknown.", () => {
  assert.deepEqual([0, 999, 12_907, 88_858_000, null].map(size), ["0 B", "999 B", "12.9 kB", "88.9 MB", "unknown"]);
});
