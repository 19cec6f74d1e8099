// What the final changed of the preliminary, word by word, behind a button.
//
// #changes-toggle[aria-expanded], #changes with del and ins.

import { el, replace } from "../dom.js";
import { tallyOf, wordDiff } from "./diff.js";
import { plainOf } from "./parse.js";
import { ASK, CHANGE } from "./words.js";

const COMPARABLE = new Set(["revised", "undetermined"]);
const TAGS = { gone: "del", came: "ins" };

const partOf = ({ kind, text }) => (kind === "same" ? document.createTextNode(text) : el(TAGS[kind], null, text));

/** Whether there is something to compare. */
export const canCompare = (state) => COMPARABLE.has(state.final?.change) && Boolean(state.preliminary?.text) && Boolean(state.final.text);

export function createChanges() {
  const toggle = el("button", { id: "changes-toggle", type: "button", class: "quiet", hidden: true, "aria-expanded": "false", "aria-controls": "changes" });
  const node = el("section", { id: "changes", class: "panel", hidden: true, "aria-labelledby": "changes-title" });
  let shown = null; // the final that is compared

  function open(wide) {
    node.hidden = !wide;
    toggle.setAttribute("aria-expanded", String(wide));
    toggle.textContent = wide ? ASK.hideChanges : ASK.changes;
  }

  function draw(state) {
    const parts = wordDiff(plainOf(state.preliminary.text), plainOf(state.final.text));
    const tally = tallyOf(parts);
    replace(
      node,
      el("h3", { id: "changes-title" }, CHANGE.title),
      el("p", { class: "soft" }, `${CHANGE.legend} ${CHANGE.tally(tally)}${tally.same < Math.min(tally.gone, tally.came) ? ` ${CHANGE.apart}` : ""}`),
      el("p", { class: "diff", dir: "auto" }, parts.map(partOf)),
    );
  }

  let current = null;
  toggle.addEventListener("click", () => {
    if (node.hidden) draw(current);
    open(node.hidden);
  });
  open(false);

  return {
    node,
    toggle,
    paint(state) {
      current = state;
      if (state.final === shown) return;
      shown = state.final;
      toggle.hidden = !canCompare(state);
      open(false);
    },
  };
}
