// What stands in place of the cards: nothing was ever asked, nothing passes the filters, or the server refuses.

import { el } from "../dom.js";
import { LABELS, narrowed } from "./query.js";
import { AGO, EMPTY, NONE, PAGE, explain } from "./words.js";

/** An empty server: what to do so that there is something to see. */
export const emptyPage = () =>
  el(
    "section",
    { class: "empty", id: "insight-empty" },
    el("h2", null, EMPTY.title),
    el("p", null, EMPTY.lead),
    el("p", null, el("a", { class: "primary as-button", href: "#/" }, EMPTY.ask)),
    el("ul", { class: "teach" }, EMPTY.steps.map(([words, line]) => el("li", null, words, el("code", null, line)))),
  );

/** There are runs, but none of these. */
export function nothingPage(filters, change) {
  const cleared = Object.fromEntries(LABELS.map((name) => [name, ""]));
  const words = narrowed(filters) ? NONE.words : NONE.spanOnly;
  return el(
    "section",
    { class: "empty", id: "insight-none" },
    el("h2", null, NONE.title),
    el("p", null, words(AGO[filters.span])),
    el("p", null, el("button", { type: "button", class: "primary", onclick: () => change({ ...cleared, span: "all" }) }, PAGE.showAll)),
  );
}

/** Why there is nothing to see now. */
export function problemPage(error, again) {
  const { title, detail, code } = explain(error);
  return el(
    "div",
    { class: "panel problem", role: "alert", id: "insight-problem" },
    el("h2", null, title),
    el("p", null, detail),
    el("p", { class: "code" }, el("code", null, code)),
    el("button", { type: "button", class: "quiet", onclick: again }, PAGE.again),
  );
}
