// app/console/draw/axis.js: ticks stand at round values and say them shortly.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bounds, label, nice, scale, spread, ticks } from "../../app/console/draw/axis.js";

const HOUR = 3_600_000;
const NOON = Date.UTC(2026, 10, 22, 12);
const said = (low, high, options) => {
  const at = ticks(low, high, options);
  return at.map((value) => label(value, options.kind, at[1] - at[0]));
};

test("A step is the next of 1, 2 and 5 times a power of ten, and one that is round already stays.", () => {
  assert.deepEqual([0.3, 1, 1.1, 4.9, 5, 6, 5000.1].map(nice), [0.5, 1, 2, 5, 5, 10, 10_000]);
});

test("Ticks of times are steps that people count in, with their unit.", () => {
  assert.deepEqual(said(0, 400, { kind: "ms", count: 4 }), ["0", "100 ms", "200 ms", "300 ms", "400 ms"]);
  assert.deepEqual(said(0, 60_000, { kind: "ms", count: 4 }), ["0", "15 s", "30 s", "45 s", "1 min"]);
  assert.deepEqual(said(0, 5 * 60_000, { kind: "ms", count: 5 }), ["0", "1 min", "2 min", "3 min", "4 min", "5 min"]);
});

test("Ticks of a logarithmic axis of times are powers of ten below a second, and times of the clock above it.", () => {
  assert.deepEqual(said(10, 50_000, { kind: "ms", log: true, count: 4 }), ["10 ms", "100 ms", "1 s", "10 s"]);
  assert.deepEqual(said(10, 50_000, { kind: "ms", log: true, count: 8 }), ["10 ms", "30 ms", "100 ms", "300 ms", "1 s", "2 s", "5 s", "10 s", "30 s"]);
});

test("Ticks of counts are whole, however few there are to count.", () => {
  assert.deepEqual(said(0, 2, { kind: "count" }), ["0", "1", "2"]);
  assert.deepEqual(said(0, 25_000, { kind: "count", count: 3 }), ["0", "10 k", "20 k"]);
});

test("Ticks of money keep the digits that tell them apart.", () => {
  assert.deepEqual(said(0, 0.00004, { kind: "usd", count: 2 }), ["$0", "$0.00002", "$0.00004"]);
  assert.deepEqual(said(0, 3, { kind: "usd", count: 6 }), ["$0", "$0.5", "$1", "$1.50", "$2", "$2.50", "$3"]);
});

test("Ticks of a day are hours, its midnight the date; ticks of weeks are days, of years months.", () => {
  assert.deepEqual(said(NOON - 24 * HOUR, NOON, { kind: "date", count: 4 }), ["12:00", "18:00", "Nov 22", "06:00", "12:00"]);
  assert.deepEqual(said(NOON - 7 * 24 * HOUR, NOON, { kind: "date", count: 4 }), ["Nov 17", "Nov 19", "Nov 21"]);
  assert.match(said(NOON - 900 * 24 * HOUR, NOON, { kind: "date", count: 4 })[0], /^\w{3} 202\d$/);
});

test("A value below zero has a minus sign, in every unit.", () => {
  assert.deepEqual(["ms", "usd", "share", "count"].map((kind) => label(-0.25, kind)), ["−0.25 ms", "−$0.25", "−25 %", "−0.25"]);
});

test("An axis of nothing, of one value, or of values that are no numbers, has two different ends and a tick.", () => {
  for (const values of [[], [0], [7], [null, Number.NaN, undefined], [-3]]) {
    const [low, high] = bounds(values, { zero: true });
    assert.ok(high > low, `${values}: ${low} to ${high}`);
    assert.ok(ticks(low, high).length > 1);
  }
  assert.deepEqual([bounds([0], { log: true }), bounds([], { log: true })], [[1, 10], [1, 10]]);
});

test("The ends of an axis hold all its values.", () => {
  for (const [values, options] of [[[3, 77], {}], [[13, 44_000], { log: true }], [[0.0021, 0.0099], { kind: "usd", zero: true }], [[-500, 1200], { kind: "ms", zero: true }]]) {
    const [low, high] = bounds(values, options);
    assert.ok(low <= Math.min(...values) && high >= Math.max(...values), `${low} to ${high}`);
  }
});

test("A scale puts the ends at the ends; on a logarithmic one equal ratios are equally far, and 0 is at its low end.", () => {
  assert.deepEqual([0, 5, 10].map(scale([0, 10], [100, 300])), [100, 200, 300]);
  assert.deepEqual([1, 10, 100, 0].map((v) => Math.round(scale([1, 100], [0, 200], { log: true })(v))), [0, 100, 200, 0]);
  assert.equal(scale([5, 5], [0, 10])(5), 5);
});

test("Values twenty times apart ask for a logarithmic axis; zeros and unknowns do not count.", () => {
  assert.deepEqual([spread([1, 30]), spread([1, 15]), spread([0, null, 4]), spread([])], [true, false, false, false]);
});
