// How often the two models agree, class by class, and what the slow one is worth: changes, waits, costs, regret.

import { chart } from "../draw/chart.js";
import { cost, count, duration, percent } from "../words.js";
import { facts } from "./card.js";
import { selectionOf } from "./query.js";
import { waitOf } from "./sentences.js";
import { FEW, PAGE, basis, few, interval, meanOf, shareOf, VERDICTS as WORDS } from "./words.js";

const CLASSES = 12; // more are in the table alone
const named = (one) => one.class ?? WORDS.noClass;

/** The rows of the chart: all classes together, then the largest. */
function rowsOf(answer) {
  const total = { ...answer.total, label: WORDS.total };
  const classes = answer.classes.toSorted((a, b) => b.n - a.n).map((one) => ({ ...one, label: named(one) }));
  return classes.length > 1 || answer.classes[0]?.class ? [total, ...classes] : [total];
}

const saidOf = (one) => (one.n < FEW ? `${count(one.n)}: too few` : `${percent(one.agree.share)} of ${count(one.n)}`);

const tableRow = (one) => [
  one.label,
  count(one.n),
  percent(one.agree.share),
  interval(one.agree.low, one.agree.high, percent),
  percent(one.unknown.share),
  percent(one.disagree.share),
  interval(one.disagree.low, one.disagree.high, percent),
];

/** What chart.js draws of the answer. */
export function specOf(answer) {
  const rows = rowsOf(answer);
  const shown = rows.slice(0, CLASSES + 1);
  return {
    id: "verdicts",
    title: WORDS.title,
    description: `${shown.map((one) => `${one.label}: agreed ${shareOf(one.agree)}`).join(". ")}.`,
    hint: PAGE.hint,
    tableName: PAGE.numbers,
    x: { kind: "share", low: 0, high: 1 },
    legend: [
      { name: WORDS.legend.agree, tone: "good", box: true },
      { name: WORDS.legend.unknown, tone: "soft", box: true },
      { name: WORDS.legend.disagree, tone: "slow", box: true, stripes: true },
    ],
    rows: shown.map((one) => ({
      label: one.label,
      said: saidOf(one),
      low: one.agree.low,
      high: one.agree.high,
      parts: [
        { value: one.agree.share, tone: "good" },
        { value: one.unknown.share, tone: "soft" },
        { value: one.disagree.share, tone: "slow", stripes: true },
      ],
    })),
    read: (i) => [shown[i].label, `Agreed: ${shareOf(shown[i].agree)}`, `Changed: ${shareOf(shown[i].disagree)}`, `Undecided: ${percent(shown[i].unknown.share)}`],
    table: { head: WORDS.head, rows: rows.map(tableRow) },
  };
}

/** What one changed answer costs: the slow lane's mean cost over the share that it changes; null where unknown. */
export function priceOfChange(total) {
  const mean = total.extra_cost_usd.mean;
  return mean === null || !total.disagree.share ? null : mean / total.disagree.share;
}

function factsOf(total) {
  const change = priceOfChange(total);
  const judged = total.regret.n > 0
    ? [
        [WORDS.regret, shareOf(total.regret), WORDS.regretNote],
        [WORDS.reverse, shareOf(total.reverse_regret), WORDS.reverseNote],
        [WORDS.trust, shareOf(total.correct_when_agreed), WORDS.trustNote],
      ]
    : [];
  return [
    [WORDS.changed, shareOf(total.disagree)],
    [WORDS.wait, waitOf(total.extra_wait_ms), `n = ${count(total.extra_wait_ms.n)}`],
    ...(total.wait_on_change_ms.n > 0 ? [[WORDS.waitChanged, waitOf(total.wait_on_change_ms), `n = ${count(total.wait_on_change_ms.n)}`]] : []),
    [WORDS.head_start, meanOf(total.usable_head_start_ms, duration), WORDS.headNote],
    [WORDS.extra, meanOf(total.extra_cost_usd, cost)],
    [WORDS.perChange, change === null ? "unknown" : cost(change), WORDS.perNote],
    ...judged,
  ];
}

export const verdicts = {
  id: "verdicts",
  title: WORDS.name,
  lead: WORDS.lead,
  wide: true,
  load: (ask, filters, now) => ask("/api/experiments/agreement", selectionOf(filters, now)),
  view(answer) {
    if (answer.total.n === 0) return { empty: WORDS.none };
    const drawn = chart("bars", specOf(answer));
    const hidden = answer.classes.length - CLASSES;
    const notes = [
      answer.total.n < FEW ? few(answer.total.n) : "",
      WORDS.interval + ".",
      hidden > 0 ? WORDS.more(hidden) : "",
      answer.total.regret.n > 0 ? "" : WORDS.judge,
      ...basis(answer),
    ];
    return { nodes: [drawn.node, facts(factsOf(answer.total))], notes, charts: [drawn] };
  },
};
