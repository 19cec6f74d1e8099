// Lines and steps with their bands over an axis, as plain shapes; pure.

import { ground, round, text, verticals } from "./grid.js";

const SPOT = 3.2;
const MANY = 60; // points that are still told apart when each has a dot

/** The parts of a line between its gaps: a point without a value, or one marked as the first after a gap. */
function pieces(points, known) {
  const found = [[]];
  for (const point of points) {
    if (point.after) found.push([]);
    if (known(point)) found.at(-1).push(point);
    else found.push([]);
  }
  return found.filter((piece) => piece.length > 0);
}

const has = (...names) => (point) => names.every((name) => Number.isFinite(point[name]));
const line = (places) => places.map(([x, y], i) => `${i ? "L" : "M"}${round(x)} ${round(y)}`).join("");

/** From one value to the next as a staircase: each holds until the next begins. */
const stairs = (places) => places.map(([x, y], i) => (i ? `H${round(x)}V${round(y)}` : `M${round(x)} ${round(y)}`)).join("");

/** A staircase there on the upper ends and back on the lower ones. */
function band(points, flat, steep, steps) {
  const upper = points.map((p) => [flat(p.x), steep(p.high)]);
  const lower = points.map((p) => [flat(p.x), steep(p.low)]);
  if (!steps) return `${line([...upper, ...lower.toReversed()])}Z`;
  const back = lower.toReversed().map(([x, y], i, all) => (i ? `V${round(y)}H${round(x)}` : `L${round(x)} ${round(y)}`)).join("");
  return `${stairs(upper)}${back}Z`;
}

function spots(series, points, flat, steep) {
  if (series.spot === undefined || points.length > MANY) return [];
  return points.filter(has("x", "y")).map((point) => {
    const [x, y] = [flat(point.x), steep(point.y)];
    const tone = `spot tone-${series.tone}`;
    if (series.spot === "circle") return { tag: "circle", class: tone, cx: round(x), cy: round(y), r: SPOT };
    return { tag: "rect", class: tone, x: round(x - SPOT), y: round(y - SPOT), width: 2 * SPOT, height: 2 * SPOT };
  });
}

function drawn(series, { flat, steep }) {
  const steps = series.shape === "step";
  const points = steps && series.points.length > 0 ? [...series.points, { ...series.points.at(-1), x: series.until ?? series.points.at(-1).x }] : series.points;
  const begin = steps && points.length > 0 && series.from !== undefined ? [{ x: series.from, y: 0 }] : [];
  const bands = pieces(points, has("x", "low", "high")).filter((piece) => piece.length > 1);
  const lines = pieces([...begin, ...points], has("x", "y"));
  return [
    ...bands.map((piece) => ({ tag: "path", class: `band tone-${series.tone}`, d: band(piece, flat, steep, steps) })),
    ...lines.map((piece) => ({
      tag: "path",
      class: `line tone-${series.tone} ${series.dash ?? "solid"}`,
      d: (steps ? stairs : line)(piece.map((p) => [flat(p.x), steep(p.y)])),
    })),
    ...spots(series, points, flat, steep),
  ];
}

/** The name of a curve beside it, half way up; none where it would lie on another. */
function tags(series, { flat, steep, area }) {
  const placed = [];
  for (const one of series.filter((s) => s.tag)) {
    const at = one.points.find((p) => p.y >= 0.5) ?? one.points.at(-1);
    if (at === undefined) continue;
    const [x, y] = [flat(at.x) + 7, steep(Math.min(at.y, 0.5)) + 4];
    const wide = one.tag.length * 7;
    const free = placed.every((other) => Math.abs(other.y - y) > 14 || Math.abs(other.x - x) > Math.max(wide, other.wide));
    if (free && x + wide < area.right) placed.push({ x, y, wide, tone: one.tone, words: one.tag });
  }
  return placed.map((p) => text(p.words, p.x, p.y, { class: `tag tone-${p.tone}` }));
}

/** Where one may stop to read: all places where a value stands, thinned evenly. */
export function stopsOf(places, most = MANY) {
  const all = [...new Set(places)].filter(Number.isFinite).toSorted((a, b) => a - b);
  if (all.length <= most) return all;
  return Array.from({ length: most }, (_, i) => all[Math.round((i * (all.length - 1)) / (most - 1))]);
}

/** Everything of a chart of lines at this width. */
export function plot(spec, width) {
  const base = ground(spec, width);
  const shapes = [...base.shapes, ...verticals(base), ...spec.series.flatMap((one) => drawn(one, base)), ...tags(spec.series, base)];
  const stops = (spec.stops ?? stopsOf(spec.series.flatMap((one) => one.points.map((p) => p.x)))).map((x) => ({ x: base.flat(x), value: x }));
  return { height: spec.height ?? 240, shapes, stops, area: base.area };
}
