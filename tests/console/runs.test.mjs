// The pure parts of the pages Runs and Run: filters, the tail, the fold of a run's events, the replay's clock.
import assert from "node:assert/strict";
import { test } from "node:test";
import { exportPath, hashOf, localMoment, millisecondsOf, readFilters, readLimit, secondsOf, utcMoment } from "../../app/console/runs/filters.js";
import { apply, fold, fromRecord, initial } from "../../app/console/runs/fold.js";
import { marksOf, momentsOf, timed } from "../../app/console/runs/marks.js";
import { append, merge } from "../../app/console/runs/merge.js";
import { paceOf } from "../../app/console/runs/pace.js";
import { countUntil, createPlayer } from "../../app/console/runs/player.js";
import { createPoll, pauseAfter } from "../../app/console/runs/poll.js";
import { momentRows, readoutOf } from "../../app/console/runs/readout.js";

const params = (text) => new URLSearchParams(text);
const row = (n) => ({ run_id: `r${String(n).padStart(3, "0")}`, created_at: new Date(1e12 + n).toISOString() });
const rows = (...numbers) => numbers.map(row);
const ids = (list) => list.map(({ run_id }) => Number(run_id.slice(1)));

test("The address keeps every filter that is set, drops what is none, and gives the same filters back.", () => {
  const filters = readFilters(params("status=failed&tag=%20x%20&model=&cursor=abc&evil=1"));
  assert.deepEqual(filters, { status: "failed", tag: "x" });
  assert.equal(hashOf(filters), "#/runs?status=failed&tag=x");
  assert.equal(hashOf({}), "#/runs");
  assert.deepEqual(readFilters(params(hashOf({ model: "a:b?c&d", since: "2026-01-01T00:00:00Z" }, 3).split(/\?(.*)/s)[1])), { model: "a:b?c&d", since: "2026-01-01T00:00:00Z" });
  assert.equal(exportPath({ variant: "a b" }, "csv"), "/api/experiments/export?format=csv&variant=a+b");
});

test("A page has as many rows as the address says, within what the API gives with questions.", () => {
  assert.deepEqual(["limit=3", "limit=999", "limit=0", "limit=x", ""].map((text) => readLimit(params(text))), [3, 50, 25, 25, 25]);
});

test("Moments are typed in local time and kept in UTC; nonsense is nothing.", () => {
  const utc = utcMoment("2026-03-04T05:06");
  assert.match(utc, /^2026-03-0\dT\d\d:\d6:00Z$/);
  assert.equal(localMoment(utc), "2026-03-04T05:06");
  assert.deepEqual([localMoment("never"), utcMoment("")], ["", ""]);
});

test("Seconds become milliseconds and the other way round; what is no number of seconds is no filter.", () => {
  assert.deepEqual([millisecondsOf("1.5"), millisecondsOf("0"), millisecondsOf("-1"), millisecondsOf("x"), millisecondsOf("")], ["1500", "0", "", "", ""]);
  assert.deepEqual([secondsOf("1500"), secondsOf(undefined), secondsOf("x")], ["1.5", "", ""]);
});

test("New runs come on top, rows that changed are as they are now, and older pages stay.", () => {
  const merged = merge(rows(5, 4, 3, 2, 1), [row(6), { ...row(5), status: "completed" }, row(4)], true);
  assert.deepEqual([ids(merged.rows), merged.fresh, merged.gap], [[6, 5, 4, 3, 2, 1], ["r006"], false]);
  assert.equal(merged.rows[1].status, "completed");
});

test("A run that no longer passes the filters leaves the part of the list that was read again.", () => {
  assert.deepEqual(ids(merge(rows(5, 4, 3, 2), rows(5, 3), true).rows), [5, 3, 2]);
  assert.deepEqual(ids(merge(rows(5, 4), [], false).rows), []);
});

test("More new runs than a page holds leave a gap: the page then stands alone.", () => {
  const merged = merge(rows(2, 1), rows(9, 8, 7), true);
  assert.deepEqual([ids(merged.rows), merged.gap], [[9, 8, 7], true]);
  assert.equal(merge([], rows(9, 8), true).gap, false);
});

test("A list that has grown for long begins anew with its newest page.", () => {
  const many = Array.from({ length: 1000 }, (_, i) => row(2000 - i));
  const merged = merge(many, [row(2001), row(2000)], true);
  assert.deepEqual([ids(merged.rows), merged.gap], [[2001, 2000], true]);
});

test("However many older runs somebody has asked for, a look takes none of them away.", () => {
  const many = Array.from({ length: 1050 }, (_, i) => row(2000 - i));
  for (const page of [[row(2000), row(1999)], [row(2001), row(2000)]]) {
    const merged = merge(many, page, true, 1000);
    assert.deepEqual([merged.rows.length, merged.gap], [1050 + merged.fresh.length, false]);
  }
});

test("An older page is put behind, and a run that is there already stays where it is.", () => {
  assert.deepEqual(ids(append(rows(5, 4), rows(4, 3))), [5, 4, 3]);
});

test("A look that failed is followed by a longer pause, never longer than the worst nor shorter than was asked for.", () => {
  const bounds = { everyMs: 4000, worstMs: 60_000 };
  assert.deepEqual([0, 1, 2, 9].map((failures) => pauseAfter(failures, bounds)), [4000, 8000, 16_000, 60_000]);
  assert.equal(pauseAfter(1, { ...bounds, retryAfterS: 90 }), 90_000);
});

test("Looking by itself takes no more than a third of what a reader may ask, and less when most of it is used up.", () => {
  const limit = (left) => [{ limit: "requests_per_hour", most: 1000, left }, { limit: "usd_per_hour", most: 50, left: 1 }];
  const pace = (limits) => Math.round(paceOf(limits, { everyMs: 4000, requests: 1 }) / 1000);
  assert.deepEqual([pace([]), pace(limit(1000)), pace(limit(500)), pace(limit(50)), pace(limit(0))], [4, 11, 11, 108, 3600]);
});

function stage() {
  const page = new EventTarget();
  page.hidden = false;
  const planned = [];
  const timers = { setTimeout: (call, ms) => planned.push({ call, ms }), clearTimeout: () => planned.splice(0) };
  return { page, planned, timers, next: () => planned.shift().call() };
}

test("The tail looks while it is seen, stops while hidden or paused, and looks at once when that ends.", async () => {
  const { page, planned, timers, next } = stage();
  let looks = 0;
  const poll = createPoll({ look: async () => (looks += 1), everyMs: 10, page, timers });
  await poll.start();
  await next();
  assert.equal(looks, 2);
  page.hidden = true;
  page.dispatchEvent(new Event("visibilitychange"));
  assert.deepEqual([looks, planned.length], [2, 0]);
  page.hidden = false;
  page.dispatchEvent(new Event("visibilitychange"));
  assert.equal(looks, 3);
  poll.pause();
  page.dispatchEvent(new Event("visibilitychange"));
  assert.deepEqual([looks, planned.length], [3, 0]);
  await poll.resume();
  poll.rest();
  page.dispatchEvent(new Event("visibilitychange"));
  assert.equal(looks, 4);
});

test("Errors make the pauses longer and are told; the first look that works makes them short again.", async () => {
  const { page, planned, timers, next } = stage();
  const phases = [];
  let broken = true;
  const look = async () => {
    if (broken) throw Object.assign(new Error("down"), { retryAfter: null });
  };
  const poll = createPoll({ look, told: ({ phase }) => phases.push(phase), everyMs: 10, page, timers });
  await poll.start();
  const pauses = [planned[0].ms];
  await next();
  pauses.push(planned[0].ms);
  broken = false;
  await next();
  pauses.push(planned[0].ms);
  assert.deepEqual([pauses, phases.filter((phase) => phase !== "looking")], [[20, 40, 10], ["failing", "failing", "waiting"]]);
});

const LANES = { fast: { model: "s:a" }, slow: { model: "s:b" } };
const delta = (lane, text, kind = "answer") => ({ name: "delta", data: { lane, text, kind } });
const STORY = [
  { name: "start", data: { lanes: LANES } },
  delta("slow", "hm", "thinking"),
  delta("fast", " "),
  delta("fast", "5"),
  { name: "preliminary", data: { lane: "fast", text: " 5", ttft_ms: 3, latency_ms: 4, cost_usd: null } },
  { name: "lane_end", data: { lane: "fast", outcome: "completed", ttft_ms: 3, latency_ms: 4 } },
  delta("slow", "6"),
  { name: "lane_end", data: { lane: "slow", outcome: "completed", ttft_ms: 6, latency_ms: 7 } },
  { name: "final", data: { lane: "slow", text: "six", change: "revised" } },
  { name: "done", data: { status: "completed" } },
];
const AT = [0, 10, 20, 30, 40, 40, 60, 70, 71, 71];

test("A run after each of its events is what a reader saw then, and the end is the record.", () => {
  const seen = STORY.map((_, i) => fold(STORY, i + 1).lanes);
  assert.deepEqual(seen.map(({ fast }) => fast.state), ["waiting", "waiting", "waiting", "answering", "answering", ...Array(5).fill("completed")]);
  assert.deepEqual([seen[1].slow.state, seen[6].slow.state, seen[1].slow.thinking], ["thinking", "answering", "hm"]);
  assert.deepEqual(seen.map(({ fast }) => fast.role), [null, null, null, null, ...Array(4).fill("preliminary"), "replaced", "replaced"]);
  assert.deepEqual([seen[7].slow.text, seen[8].slow.text, seen[8].slow.edition, seen[8].slow.role], ["6", "six", 1, "final"]);
});

test("A replay that goes on and one that begins anew show the same.", () => {
  let going = initial();
  for (let count = 1; count <= STORY.length; count += 1) {
    going = fold(STORY, count, count === 1 ? null : going);
    assert.deepEqual(going, fold(STORY, count));
  }
  assert.equal(fold(STORY, 2, going).count, 2);
});

test("Events of a kind or a lane that is not known change nothing.", () => {
  const state = apply(apply(initial(), { name: "news", data: {} }), delta("third", "?"));
  assert.deepEqual({ ...state, count: 0 }, initial());
});

test("A record alone shows the lanes as they ended.", () => {
  const lanes = { fast: { model: "s:a", outcome: "completed", latency_ms: 4 }, slow: { model: "s:b", outcome: "failed", reason: "boom" } };
  const state = fromRecord({ lanes, final_lane: "fast", change: "unverified", payload: { texts: { fast: "5" } } });
  assert.deepEqual([state.lanes.fast.text, state.lanes.fast.role, state.lanes.slow.state, state.lanes.slow.reason], ["5", "final", "failed", "boom"]);
  assert.equal(fromRecord({ lanes, final_lane: "fast", payload: null }).lanes.fast.text, "");
});

test("The axis has every delta, the first that says something, the ends and the final.", () => {
  const marks = marksOf(timed(STORY, AT));
  assert.deepEqual(marks.lanes.fast, { answer: [20, 30], thinking: [], first: 30, end: 40, outcome: "completed" });
  assert.deepEqual([marks.lanes.slow.thinking, marks.preliminary, marks.final, marks.done, marks.totalMs], [[10], 40, { at: 71, lane: "slow" }, 71, 71]);
});

test("Times that are not kept are not invented, and those that are never run backwards.", () => {
  assert.deepEqual(timed(STORY, null).map(({ at }) => at), Array(10).fill(null));
  assert.deepEqual(timed(STORY, [1, 2]).at(-1).at, null);
  assert.deepEqual(timed(STORY.slice(0, 3), [5, 4, 6]).map(({ at }) => at), [5, 5, 6]);
});

test("The moments name each lane's first thought and first token once, and the read-out tells one event.", () => {
  const events = timed(STORY, AT);
  assert.deepEqual(momentsOf(events).map(({ name, seq }) => [name, seq]), [["start", 0], ["first_thought", 1], ["first_token", 3], ["preliminary", 4], ["lane_end", 5], ["first_token", 6], ["lane_end", 7], ["final", 8], ["done", 9]]);
  assert.equal(momentRows(events)[2].join("|"), "30 ms|Fast|First token");
  assert.equal(readoutOf(events, 4), "4 of 10 · 30 ms · Fast: “5”");
  assert.equal(readoutOf(events, 9), "9 of 10 · 71 ms · The final stands: Revised");
});

test("The number of events until a moment counts those at the moment itself.", () => {
  assert.deepEqual([-1, 0, 40, 55, 99].map((at) => countUntil(AT, at)), [0, 1, 6, 6, 10]);
});

function theatre(times) {
  let clock = 0;
  const frames = [];
  const seen = [];
  const player = createPlayer(times, {
    show: ({ count, phase }) => seen.push([count, phase]),
    now: () => clock,
    frame: (call) => frames.push(call),
    cancel: () => frames.splice(0),
  });
  return { player, seen, frames, after: (ms) => ((clock += ms), frames.shift()?.(clock)) };
}

test("A replay shows every event at its time, in order, and ends with all of them.", () => {
  const { player, seen, after } = theatre(AT);
  player.play();
  for (let i = 0; i < 8; i += 1) after(10);
  assert.deepEqual(seen.map(([count]) => count), [1, 2, 3, 4, 6, 6, 7, 8, 10]);
  assert.deepEqual([seen.at(-1)[1], player.state.position], ["over", 71]);
});

test("At four times the speed it takes a quarter of the time; instantly it is over at once.", () => {
  const { player, seen, after } = theatre(AT);
  player.setSpeed(4);
  player.play();
  after(10);
  assert.equal(seen.at(-1)[0], 6);
  player.setSpeed(Infinity);
  assert.deepEqual(seen.at(-1), [10, "over"]);
});

test("A paused replay stands still, goes on from there, and begins anew when it is over.", () => {
  const { player, seen, frames, after } = theatre(AT);
  player.play();
  after(25);
  player.pause();
  assert.deepEqual([frames.length, seen.at(-1)], [0, [3, "paused"]]);
  after(1000);
  player.play();
  after(10);
  assert.equal(seen.at(-1)[0], 4);
  player.seek(10);
  player.play();
  assert.deepEqual(seen.at(-1), [1, "playing"]);
});

test("A step to an event shows the run as it was then, within the events there are.", () => {
  const { player, seen } = theatre(AT);
  for (const count of [3, 0, 99]) player.seek(count);
  assert.deepEqual(seen, [[3, "paused"], [1, "paused"], [10, "paused"]]);
});
