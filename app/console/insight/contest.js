// Two variants of an experiment against each other: the difference with its interval, by which test, in plain words.

import { bounds } from "../draw/axis.js";
import { chart } from "../draw/chart.js";
import { el } from "../dom.js";
import { count, percent } from "../words.js";
import { sentences, table } from "./card.js";
import { spanOf } from "./query.js";
import { WRITE, contestMethod, contestSentence, sidesOf } from "./sentences.js";
import { METRICS, PAGE, PARTS, interval, CONTEST as WORDS } from "./words.js";

const KINDS = { ms: "ms", usd: "usd", share: "share" };

/** Experiments with at least two variants: {name: [variants]}, the most used first. */
export function arenasOf(groups) {
  const found = {};
  for (const { key, n } of groups.toSorted((a, b) => b.n - a.n)) if (key.experiment && key.variant && n > 0) (found[key.experiment] ??= []).push(key.variant);
  return Object.fromEntries(Object.entries(found).filter(([, variants]) => variants.length > 1).map(([name, variants]) => [name, variants.toSorted()]));
}

/** Who is compared: what the filters name where it is there, else the first two variants of the first experiment. */
export function chosenOf(arenas, filters) {
  const of = [filters.of, filters.experiment].find((name) => Object.hasOwn(arenas, name ?? "")) ?? Object.keys(arenas)[0];
  const variants = arenas[of];
  const a = variants.includes(filters.a) ? filters.a : variants[0];
  const b = variants.includes(filters.b) ? filters.b : variants.find((one) => one !== a);
  const metric = Object.hasOwn(METRICS, filters.metric ?? "") ? filters.metric : "latency";
  const part = metric !== "agreement" && Object.hasOwn(PARTS, filters.part ?? "") ? filters.part : "run";
  return { of, a, b, metric, part };
}

const signed = (x, unit) => (x === null ? "unknown" : `${x < 0 ? "−" : x > 0 ? "+" : ""}${WRITE[unit](Math.abs(x))}`);

/** What chart.js draws: the difference and its interval, beside no difference. */
export function specOf(answer) {
  const { value, low, high } = answer.difference;
  const ends = [0, value, low ?? value, high ?? value];
  const room = 0.15 * (Math.max(...ends) - Math.min(...ends));
  const [from, to] = bounds([...ends, -room, room], { kind: KINDS[answer.unit] });
  const said = signed(value, answer.unit);
  const between = interval(low, high, (x) => signed(x, answer.unit));
  const title = WORDS.title(answer.metric, answer.a.variant, answer.b.variant);
  return {
    id: "contest",
    title,
    description: contestSentence(answer),
    hint: PAGE.hint,
    tableName: PAGE.numbers,
    x: { kind: KINDS[answer.unit], low: from, high: to, label: sidesOf(answer) },
    rows: [{ label: `${answer.b.variant} − ${answer.a.variant}`, said, spot: value, low, high, tone: "ink" }],
    read: () => [title, said, `95 % interval: ${between}`, `n = ${count(answer.difference.n)} questions`],
    table: { head: [WORDS.difference, "95 % interval", "Questions"], rows: [[said, between, count(answer.difference.n)]] },
  };
}

function sides(answer) {
  const write = WRITE[answer.unit];
  const binary = answer.unit === "share";
  const head = binary ? [WORDS.head[0], WORDS.head[1], WORDS.head[2], WORDS.head[5], WORDS.head[6]] : WORDS.head.slice(0, 5);
  const rows = [answer.a, answer.b].map((side) => {
    const values = binary ? [percent(side.share), interval(side.low, side.high, percent)] : [write(side.mean), write(side.median)];
    return [side.variant, count(side.runs), count(side.n), ...values];
  });
  return table("Both variants", head, rows);
}

const select = (name, options, chosen, change) =>
  el(
    "label",
    { class: "field" },
    WORDS[name],
    el(
      "select",
      { name, onchange: (event) => change(event.target.value) },
      Object.entries(options).map(([value, words]) => el("option", { value, selected: value === chosen }, words)),
    ),
  );

const same = (names) => Object.fromEntries(names.map((name) => [name, name]));

/** The five fields; a change of the experiment forgets the variants. */
function fields(arenas, chosen, change) {
  const { of, a, b, metric, part } = chosen;
  const variants = arenas[of];
  return el(
    "div",
    { class: "fields contest-fields" },
    select("experiment", same(Object.keys(arenas)), of, (value) => change({ of: value, a: "", b: "" })),
    select("a", same(variants), a, (value) => change(value === b ? { of, a: b, b: a } : { of, a: value, b })),
    select("b", same(variants), b, (value) => change(value === a ? { of, a: b, b: a } : { of, a, b: value })),
    select("metric", METRICS, metric, (value) => change({ of, a, b, metric: value, part: "" })),
    metric === "agreement" ? null : select("part", PARTS, part, (value) => change({ of, a, b, metric, part: value })),
  );
}

export const contest = {
  id: "contest",
  title: WORDS.name,
  lead: WORDS.lead,
  wide: true,
  async load(ask, filters, now) {
    const span = spanOf(filters, now);
    const arenas = arenasOf((await ask("/api/experiments/stats", { ...span, by: "experiment,variant" })).groups);
    if (Object.keys(arenas).length === 0) return { arenas };
    const chosen = chosenOf(arenas, filters);
    const { of: experiment, ...rest } = chosen;
    const narrowed = filters.prompt_class ? { prompt_class: filters.prompt_class } : {};
    return { arenas, chosen, answer: await ask("/api/experiments/compare", { ...span, ...narrowed, experiment, ...rest }) };
  },
  view({ arenas, chosen, answer }, filters, change) {
    if (chosen === undefined) return { empty: WORDS.none };
    const notes = [filters.model || filters.variant || filters.experiment ? WORDS.notes.span : "", answer.truncated ? WORDS.notes.truncated : ""];
    const form = fields(arenas, chosen, change);
    if (answer.difference.value === null) return { nodes: [form, sentences([WORDS.unmeasured[answer.metric] ?? contestSentence(answer)]), sides(answer)], notes };
    const drawn = chart("bars", specOf(answer));
    return { nodes: [form, sentences([contestSentence(answer), ...contestMethod(answer)]), drawn.node, sides(answer)], notes, charts: [drawn] };
  },
};
