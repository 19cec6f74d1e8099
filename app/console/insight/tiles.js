// The whole page in five numbers.

import { el } from "../dom.js";
import { count, percent } from "../words.js";
import { spentWords } from "./sentences.js";
import { FEW, ms, TILES as WORDS } from "./words.js";

/** The numbers: [[name, term, value, note], ...]. */
export function numbersOf(total) {
  const compared = Object.values(total.agreement).reduce((sum, n) => sum + n, 0);
  const lane = (name) => {
    const { n, censored, p50_ms: p50 } = total.lanes[name].total;
    return [name, WORDS[name], n + censored === 0 ? "unknown" : ms(p50), WORDS.ends(n, censored)];
  };
  return [
    ["runs", WORDS.runs, count(total.n), WORDS.hits(total.source.cache ?? 0)],
    lane("fast"),
    lane("slow"),
    ["agree", WORDS.agree, compared === 0 ? "unknown" : percent((total.agreement.agree ?? 0) / compared), WORDS.of(compared)],
    ["cost", WORDS.cost, spentWords(total), WORDS.known(total.cost.n, total.n)],
  ];
}

export const tilesOf = (total) =>
  numbersOf(total).map(([name, term, value, note]) => el("div", { dataset: { tile: name } }, el("dt", null, term), el("dd", null, value), el("dd", { class: "tile-note" }, note)));
