// Bars: lying ones with an interval over them, a row each; standing ones in parts, one for each step of time. Pure.

import { scale } from "./axis.js";
import { below, ground, marked, round, text, widthOf } from "./grid.js";

const NARROW = 520;
const THICK = 16;

/** A rectangle of a part, and its stripes where it has them: colour is never the only difference. */
function part({ tone, stripes }, place) {
  const solid = { tag: "rect", class: `bar tone-${tone}`, ...place };
  return stripes ? [solid, { tag: "rect", class: "stripes", fill: "url(#stripes)", ...place }] : [solid];
}

function lying(row, flat, y) {
  let from = flat(0);
  return (row.parts ?? []).flatMap((one) => {
    const place = { x: round(from), y, width: round(Math.max(0, flat(one.value) - flat(0))), height: THICK };
    from += place.width;
    return place.width > 0 ? part(one, place) : [];
  });
}

function whisker(row, flat, y) {
  if (!Number.isFinite(row.low) || !Number.isFinite(row.high)) return [];
  const [low, high, middle] = [round(flat(row.low)), round(flat(row.high)), y + THICK / 2];
  const d = `M${low} ${middle}H${high}M${low} ${middle - 5}V${middle + 5}M${high} ${middle - 5}V${middle + 5}`;
  return [{ tag: "path", class: "halo", d }, { tag: "path", class: "whisker", d }];
}

function point(row, flat, y) {
  if (!Number.isFinite(row.spot)) return [];
  return [{ tag: "rect", class: `spot tone-${row.tone ?? "ink"}`, x: round(flat(row.spot) - 4), y: y + THICK / 2 - 4, width: 8, height: 8 }];
}

const cut = (words, pixels) => (widthOf(words) <= pixels ? words : `${words.slice(0, Math.max(1, Math.floor(pixels / 6.4) - 1))}…`);

/** Everything of a chart of lying bars at this width: rows {label, said, parts, low, high, spot}. */
export function bars(spec, width) {
  const narrow = width < NARROW;
  const wide = (words) => Math.max(0, ...words.map(widthOf));
  const left = narrow ? 4 : Math.min(wide(spec.rows.map((row) => row.label)) + 14, width * 0.3);
  const right = width - (narrow ? 12 : Math.min(wide(spec.rows.map((row) => row.said)) + 18, width * 0.4));
  const [step, above] = narrow ? [48, 20] : [30, 4];
  const bottom = 8 + spec.rows.length * step;
  const flat = scale([spec.x.low, spec.x.high], [left, right], spec.x);
  const grid = marked(spec.x, right - left, 96).flatMap(({ value, words }) => [
    { tag: "line", class: value === 0 ? "base" : "grid", x1: round(flat(value)), x2: round(flat(value)), y1: 4, y2: bottom },
    below(words, flat(value), bottom + 16, [0, width]),
  ]);
  const caption = spec.x.label ? [text(spec.x.label, (left + right) / 2, bottom + 34, { class: "caption", "text-anchor": "middle" })] : [];
  const rows = spec.rows.flatMap((row, i) => {
    const y = 4 + i * step + above;
    const words = narrow
      ? [text(cut(row.label, width * 0.45), left, y - 6, { class: "row-label" }), text(row.said, width - 4, y - 6, { class: "said", "text-anchor": "end" })]
      : [text(cut(row.label, left - 12), left - 10, y + 12.5, { class: "row-label", "text-anchor": "end" }), text(row.said, right + 14, y + 12.5, { class: "said" })];
    return [...words, ...lying(row, flat, y), ...whisker(row, flat, y), ...point(row, flat, y)];
  });
  const stops = spec.rows.map((_, i) => ({ x: left, y: 4 + i * step + above + THICK / 2, value: i }));
  return { height: bottom + (spec.x.label ? 42 : 24), shapes: [...grid, ...caption, ...rows], stops, area: { left, right, top: 4, bottom }, down: true };
}

/** Everything of a chart of standing bars at this width: columns {x, parts}, each as wide as a step of x. */
export function columns(spec, width) {
  const base = ground(spec, width);
  const { flat, steep, area } = base;
  const thick = Math.max(1.5, Math.min(46, (flat(spec.x.low + spec.x.step) - flat(spec.x.low)) * 0.78));
  const shapes = spec.columns.flatMap((column) => {
    let from = 0;
    const middle = flat(column.x + spec.x.step / 2);
    return column.parts.flatMap((one) => {
      if (!(one.value > 0)) return [];
      const [top, foot] = [steep(from + one.value), steep(from)];
      from += one.value;
      return part(one, { x: round(middle - thick / 2), y: round(top), width: round(thick), height: round(Math.max(0.5, foot - top)) });
    });
  });
  const stops = spec.columns.map((column) => ({ x: flat(column.x + spec.x.step / 2), value: column.x }));
  return { height: spec.height ?? 240, shapes: [...base.shapes, ...shapes], stops, area };
}
