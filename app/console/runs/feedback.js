// What somebody says of the answers afterwards: right or wrong, and it can be taken back.

import { attr, el, put } from "../dom.js";
import { LANES } from "./fold.js";
import { LANE_NAMES, ONE } from "./words.js";

const NAMES = Object.fromEntries(LANES.map((name) => [name, `${name}_correct`]));
const OWN = new Set(Object.values(NAMES));
const VALUES = [
  [true, ONE.right],
  [false, ONE.wrong],
];

const others = (said) => Object.entries(said).filter(([name]) => !OWN.has(name));
const spoken = ({ value, comment }) => (comment ? `${value} (${comment})` : String(value));

/** record: of the run. may: whether whoever looks may say something, and not only read what was said. */
export function createFeedback(record, app, { may }) {
  const said = { ...record.feedback };
  const status = el("p", { id: "one-said", class: "soft", role: "status" });
  const groups = LANES.filter((lane) => record.lanes?.[lane]?.outcome === "completed");
  const buttons = [];

  function press(name, value) {
    const taken = said[name]?.value === value;
    const path = `/api/experiments/${encodeURIComponent(record.run_id)}/feedback/${name}`;
    const sent = taken ? app.api.send("DELETE", path) : app.api.send("PUT", path, { value });
    return sent.then(
      () => {
        if (taken) delete said[name];
        else said[name] = { value };
        show(taken ? ONE.takenBack : ONE.saved);
      },
      (problem) => show(problem.detail || problem.title),
    );
  }

  function button(lane, value, word) {
    const name = NAMES[lane];
    const made = el("button", { type: "button", class: "quiet small", value: String(value), disabled: !may, onclick: () => press(name, value) }, word);
    buttons.push({ made, name, value });
    return made;
  }

  function show(words = "") {
    for (const { made, name, value } of buttons) attr(made, "aria-pressed", said[name]?.value === value);
    put(status, words);
  }

  const rows = groups.map((lane) =>
    el("div", { class: "one-judge", role: "group", "aria-label": ONE.judge(LANE_NAMES[lane]), dataset: { feedback: NAMES[lane] } }, el("span", null, LANE_NAMES[lane]), VALUES.map(([value, word]) => button(lane, value, word))),
  );
  const remarks = others(said).map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, spoken(value))));
  show();
  if (rows.length === 0 && remarks.length === 0) return null;
  const hint = may ? ONE.feedbackHint : ONE.feedbackForbidden;
  return el("section", { class: "card", id: "one-feedback" }, el("h2", null, ONE.feedback), el("p", { class: "soft" }, hint), rows, remarks.length > 0 ? el("dl", null, remarks) : null, status);
}
