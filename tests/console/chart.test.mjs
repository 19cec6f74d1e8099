// The layouts of app/console/draw: what is drawn where, without a browser.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bars, columns } from "../../app/console/draw/bars.js";
import { ground, rowsOf } from "../../app/console/draw/grid.js";
import { plot, stopsOf } from "../../app/console/draw/plot.js";

const SHARE = { kind: "share", low: 0, high: 1 };
const TIME = { kind: "ms", low: 10, high: 1000, log: true };
const spec = (series, more = {}) => ({ x: TIME, y: SHARE, series: [{ tone: "fast", ...series }], ...more });
const of = (drawn, name) => drawn.shapes.filter((shape) => shape.class?.split(" ").includes(name));
const numbers = (shapes) => shapes.flatMap((shape) => Object.values(shape).flatMap((value) => (typeof value === "number" ? [value] : (String(value).match(/NaN|Infinity/g) ?? []))));

test("A step holds its value until the next: it goes across, then up, never aslant.", () => {
  const drawn = plot(spec({ shape: "step", from: 10, points: [{ x: 100, y: 0.5 }, { x: 1000, y: 1 }] }), 600);
  assert.match(of(drawn, "line")[0].d, /^M[\d.]+ [\d.]+(H[\d.]+V[\d.]+)+$/);
});

test("A band goes there on the upper ends and back on the lower ones; a point without an interval has none.", () => {
  const points = [{ x: 20, y: 0.2, low: 0.1, high: 0.3 }, { x: 50, y: 0.5, low: 0.4, high: 0.6 }, { x: 90, y: 1, low: null, high: null }];
  const band = of(plot(spec({ shape: "step", points }), 600), "band")[0].d;
  assert.ok(band.endsWith("Z"));
  const alone = plot(spec({ shape: "step", points: points.slice(2) }), 600);
  assert.deepEqual(of(alone, "band"), []);
});

test("A line has a gap where a value is not known or a step of time is missing.", () => {
  const gap = (points) => of(plot(spec({ shape: "line", points }), 600), "line").map((line) => line.d.split("L").length);
  assert.deepEqual(gap([{ x: 20, y: 0.1 }, { x: 30, y: null }, { x: 40, y: 0.2 }]), [1, 1]);
  assert.deepEqual(gap([{ x: 20, y: 0.1 }, { x: 30, y: 0.2 }, { x: 90, y: 0.3, after: true }]), [2, 1]);
});

test("Whatever is drawn has numbers for its places, also of nothing, of zeros on a logarithmic axis, and in a narrow box.", () => {
  for (const points of [[], [{ x: 0, y: 0 }], [{ x: 20, y: 1, low: 1, high: 1 }]]) {
    for (const width of [40, 280, 1200]) assert.ok(numbers(plot(spec({ shape: "step", points }), width).shapes).every(Number.isFinite));
  }
  const rows = [{ label: "a long name of a class that goes on and on", said: "n = 0", parts: [{ value: null, tone: "good" }], low: null, high: null }];
  assert.ok(numbers(bars({ x: SHARE, rows }, 280).shapes).every(Number.isFinite));
});

test("Labels of vertical lines that would lie on each other get rows of their own, and stay within the chart.", () => {
  const placed = rowsOf([{ x: 100, label: "fast timeout" }, { x: 110, label: "slow timeout" }, { x: 595, label: "at the end" }], 50, 600);
  assert.deepEqual(placed.map((one) => one.row), [0, 1, 0]);
  assert.ok(placed.every((one) => one.at >= 50 && one.at <= 600));
});

test("Labels have room for letters as wide and bold as any system has them.", () => {
  const placed = rowsOf([{ x: 466, label: "Slow advised 3.77 s" }, { x: 590, label: "Slow timeout 45 s" }], 45, 650);
  assert.deepEqual(placed.map((one) => one.row), [0, 1]); // 134 and 122 pixels in DejaVu Sans
});

test("A line that stands outside the axis is left out.", () => {
  const base = ground({ x: TIME, y: SHARE, marks: [{ x: 5, label: "too early" }, { x: 50, label: "within" }] }, 600);
  assert.deepEqual(base.labels.map((one) => one.label), ["within"]);
});

test("There is a stop for every value, evenly thinned where there are too many to step through.", () => {
  assert.deepEqual(stopsOf([3, 1, 2, 2, null]), [1, 2, 3]);
  const thinned = stopsOf(Array.from({ length: 1000 }, (_, i) => i), 50);
  assert.deepEqual([thinned.length, thinned[0], thinned.at(-1)], [50, 0, 999]);
});

test("The parts of a lying bar stand end to end, and the interval of the first lies over them.", () => {
  const rows = [{ label: "maths", said: "60 %", parts: [{ value: 0.6, tone: "good" }, { value: 0.4, tone: "slow", stripes: true }], low: 0.5, high: 0.7 }];
  const drawn = bars({ x: SHARE, rows }, 800);
  const [first, second] = of(drawn, "bar");
  assert.ok(Math.abs(first.x + first.width - second.x) < 0.2);
  assert.ok(Math.abs(first.width / second.width - 1.5) < 0.01);
  assert.deepEqual([of(drawn, "stripes").length, of(drawn, "whisker").length], [1, 1]);
});

test("Standing parts are stacked on each other, and one that is not known leaves its place empty.", () => {
  const x = { kind: "date", low: 0, high: 4 * 3_600_000, step: 3_600_000 };
  const column = { x: 0, parts: [{ value: 3, tone: "fast" }, { value: null, tone: "slow" }, { value: 1, tone: "slow" }] };
  const drawn = columns({ x, y: { kind: "count", low: 0, high: 4 }, columns: [column] }, 600);
  const [lower, upper] = of(drawn, "bar");
  assert.ok(Math.abs(upper.y + upper.height - lower.y) < 0.2);
  assert.equal(of(drawn, "bar").length, 2);
});

test("A name that a label has no room for is cut, and everything keeps inside the box.", () => {
  const rows = [{ label: "x".repeat(200), said: "100 % of 1,000,000", parts: [{ value: 1, tone: "good" }] }];
  for (const width of [300, 1000]) assert.ok(of(bars({ x: SHARE, rows }, width), "row-label")[0].text.length < 60);
});
