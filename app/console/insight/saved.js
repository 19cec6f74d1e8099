// What the cache did: answers that were given again over time, and what this server saved by it since it began.

import { bounds } from "../draw/axis.js";
import { chart } from "../draw/chart.js";
import { cost, count, duration, percent } from "../words.js";
import { facts, table } from "./card.js";
import { inTime, selectionOf, stepOf, timeAxis } from "./query.js";
import { PAGE, basis, shareOf, SAVED as WORDS } from "./words.js";

const stamp = (at, step) => new Date(at).toISOString().slice(0, step === "hour" ? 16 : 10).replace("T", " ");
const SOURCES = ["live", "cache"];
const LOOKS = { live: { tone: "soft", box: true }, cache: { tone: "good", box: true, stripes: true } };
const of = (group, source) => group.source[source] ?? 0;

/** Bytes as people say them. */
export function size(bytes) {
  if (typeof bytes !== "number") return "unknown";
  const power = bytes < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(bytes) / 3));
  return `${power ? (bytes / 1000 ** power).toPrecision(3) : bytes} ${["B", "kB", "MB", "GB"][power]}`;
}

function readAt(points, at, step) {
  const { group } = points.find((one) => one.x === at);
  return [stamp(at, step), ...SOURCES.map((source) => `${WORDS[source]}: ${count(of(group, source))}`), percent(group.cache.share)];
}

/** What chart.js draws of these points. how: {step, now}. */
export function specOf(points, { step, now }) {
  const [, high] = bounds(points.map(({ group }) => of(group, "live") + of(group, "cache")), { zero: true });
  const sum = (source) => points.reduce((all, { group }) => all + of(group, source), 0);
  return {
    id: "cache",
    title: WORDS.title[step],
    description: `${count(sum("live"))} asked anew, ${count(sum("cache"))} from the cache.`,
    hint: PAGE.hint,
    tableName: PAGE.numbers,
    height: 200,
    x: { ...timeAxis(points, step, now), label: WORDS.axis[step] },
    y: { kind: "count", low: 0, high },
    legend: SOURCES.map((source) => ({ name: WORDS[source], ...LOOKS[source] })),
    columns: points.map(({ x, group }) => ({ x, parts: SOURCES.map((source) => ({ ...LOOKS[source], value: of(group, source) })) })),
    read: (at) => readAt(points, at, step),
    table: { head: WORDS.head, rows: points.map(({ x, group }) => [stamp(x, step), ...SOURCES.map((source) => count(of(group, source))), percent(group.cache.share)]) },
  };
}

function factsOf(total, stored) {
  const { saved } = stored;
  const hits = stored.hit_rate === null ? "no lookup yet" : `${percent(stored.hit_rate)} of ${count(stored.lookups)}`;
  return [
    [WORDS.share, shareOf(total.cache)],
    [WORDS.hits, hits, WORDS.since],
    [WORDS.time, duration(saved.latency_ms), WORDS.since],
    [WORDS.tokens, count(saved.input_tokens + saved.output_tokens), WORDS.since],
    [WORDS.saved, cost(saved.cost_usd), WORDS.known],
  ];
}

const levelsOf = (levels) =>
  Object.entries(levels).map(([name, level]) => [name, count(level.entries), size(level.bytes), count(level.hits), count(level.misses), level.state]);

export const saved = {
  id: "cache",
  title: WORDS.name,
  lead: WORDS.lead,
  async load(ask, filters, now) {
    const step = stepOf(filters);
    const [answer, stored] = await Promise.all([ask("/api/experiments/stats", { ...selectionOf(filters, now), by: step }), ask("/api/cache/stats")]);
    return { answer, stored, step, now };
  },
  view({ answer, stored, step, now }) {
    const { total } = answer;
    if (stored.status === "off" && of(total, "cache") === 0) return { empty: WORDS.off };
    if (total.cache.n === 0) return { empty: WORDS.none };
    const drawn = chart("columns", specOf(inTime(answer.groups, step), { step, now }));
    const imported = of(total, "import");
    const levels = Object.keys(stored.levels).length > 0 ? table(WORDS.levels, WORDS.levelHead, levelsOf(stored.levels)) : null;
    const notes = [of(total, "cache") === 0 ? WORDS.noHits : "", imported > 0 ? WORDS.imported(imported) : "", ...basis(answer)];
    return { nodes: [drawn.node, facts(factsOf(total, stored)), levels], notes, charts: [drawn] };
  },
};
