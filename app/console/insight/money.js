// What the runs cost: over time by lane, by pair of models, and what one confirmed or changed answer comes to.

import { bounds } from "../draw/axis.js";
import { chart } from "../draw/chart.js";
import { cost, count, modelName } from "../words.js";
import { facts, table } from "./card.js";
import { inTime, selectionOf, stepOf, timeAxis } from "./query.js";
import { spentOf, spentWords } from "./sentences.js";
import { FEW, LANE_WORDS, PAGE, basis, few, unknownOf, MONEY as WORDS } from "./words.js";

const LANES = ["fast", "slow"];
const PAIRS = 10;
const stamp = (at, step) => new Date(at).toISOString().slice(0, step === "hour" ? 16 : 10).replace("T", " ");
const spentBy = (group, lane) => group.lanes[lane].cost.sum_usd;

/** What one of so many answers comes to: the mean cost of a run, over the share of runs that gave one; null if unknown. */
export function priceOf(total, verdict) {
  const hits = total.agreement[verdict] ?? 0;
  const { n, sum_usd: sum } = total.cost;
  return n === 0 || hits === 0 || total.n === 0 ? null : (sum / n / hits) * total.n;
}

function readAt(points, at, step) {
  const { group } = points.find((one) => one.x === at);
  const lines = LANES.map((lane) => `${LANE_WORDS[lane]}: ${cost(spentBy(group, lane))} (n = ${count(group.lanes[lane].cost.n)})`);
  return [stamp(at, step), ...lines, `${count(group.n)} runs`];
}

/** What chart.js draws of these points. how: {step, now}. */
export function specOf(points, { step, now }) {
  const sums = points.map((point) => spentOf(point.group).usd ?? 0);
  const [, high] = bounds(sums, { kind: "usd", zero: true });
  const looks = { fast: { tone: "fast", box: true }, slow: { tone: "slow", box: true, stripes: true } };
  return {
    id: "money",
    title: WORDS.title[step],
    description: `${count(points.length)} ${step}s, ${cost(sums.reduce((a, b) => a + b, 0))} together, as far as it is known.`,
    hint: PAGE.hint,
    tableName: PAGE.numbers,
    x: { ...timeAxis(points, step, now), label: WORDS.axis[step] },
    y: { kind: "usd", low: 0, high },
    legend: LANES.map((lane) => ({ name: LANE_WORDS[lane], ...looks[lane] })),
    columns: points.map(({ x, group }) => ({ x, parts: LANES.map((lane) => ({ ...looks[lane], value: spentBy(group, lane) })) })),
    read: (at) => readAt(points, at, step),
    table: {
      head: WORDS.head,
      rows: points.map(({ x, group }) => [stamp(x, step), count(group.n), ...LANES.map((lane) => cost(spentBy(group, lane))), spentWords(group), count(group.cost.n)]),
    },
  };
}

function factsOf(total) {
  const { n, sum_usd: sum } = total.cost;
  const price = (verdict) => {
    const one = priceOf(total, verdict);
    return one === null ? (total.agreement[verdict] ? "unknown" : "none yet") : cost(one);
  };
  const means = LANES.map((lane) => total.lanes[lane].cost).map((known) => (known.n > 0 ? known.sum_usd / known.n : null));
  const times = means[0] > 0 && means[1] !== null ? WORDS.times((means[1] / means[0]).toPrecision(2)) : "";
  return [
    [WORDS.spent, spentWords(total), WORDS.lanes(...LANES.map((lane) => cost(spentBy(total, lane))))],
    [WORDS.perRun, n === 0 ? "unknown" : cost(sum / n), WORDS.of(n, total.n)],
    [WORDS.share, cost(means[1]), times],
    [WORDS.perConfirmed, price("agree"), WORDS.confirmedNote],
    [WORDS.perRevised, price("disagree"), WORDS.revisedNote],
  ];
}

/** Rows of the table by pair of models, the most used first. */
export function pairsOf(groups) {
  return groups.filter((group) => group.n > 0).toSorted((a, b) => b.n - a.n).map((group) => [
    `${modelName(group.key.fast_model) || "–"} + ${modelName(group.key.slow_model) || "–"}`,
    count(group.n),
    ...LANES.map((lane) => cost(spentBy(group, lane))),
    group.cost.n === 0 ? "unknown" : cost(group.cost.sum_usd / group.cost.n),
  ]);
}

const unknownIn = (total) => LANES.map((lane) => unknownOf(total.lanes[lane].n - total.lanes[lane].cost.n, total.lanes[lane].n, `${lane} lanes`));

export const money = {
  id: "money",
  title: WORDS.name,
  lead: WORDS.lead,
  async load(ask, filters, now) {
    const chosen = selectionOf(filters, now);
    const step = stepOf(filters);
    const [answer, byModel] = await Promise.all([ask("/api/experiments/stats", { ...chosen, by: step }), ask("/api/experiments/stats", { ...chosen, by: "model" })]);
    return { answer, byModel, step, now };
  },
  view({ answer, byModel, step, now }) {
    const total = answer.total;
    if (total.n === 0) return { empty: WORDS.none };
    const pairs = pairsOf(byModel.groups);
    const known = LANES.some((lane) => total.lanes[lane].cost.n > 0);
    const models = [table(WORDS.models, WORDS.modelHead, pairs.slice(0, PAIRS))];
    const late = [pairs.length > PAIRS ? WORDS.morePairs(pairs.length - PAIRS) : "", ...basis(answer)];
    if (!known) return { empty: WORDS.unpriced, more: models };
    const drawn = chart("columns", specOf(inTime(answer.groups, step), { step, now }));
    const notes = [total.n < FEW ? few(total.n) : "", ...unknownIn(total), ...late];
    return { nodes: [drawn.node, facts(factsOf(total)), models], notes, charts: [drawn] };
  },
};
