// One card of the page: a head, what it shows, and its own states.
// section.card[data-card=ID][data-state=loading|ready|empty|problem]; .card-body, .card-notes.

import { el, mark, replace } from "../dom.js";
import { PAGE, explain } from "./words.js";

/** Whoever used a field or a button of this part goes on using its successor of the same name or value. */
export function keepFocus(part, change) {
  const held = part.contains(document.activeElement) ? document.activeElement : null;
  change();
  if (held === null || held.isConnected) return;
  const name = held.getAttribute("name");
  const same = name ? `[name="${CSS.escape(name)}"]` : `[data-value="${CSS.escape(held.dataset.value ?? "")}"]`;
  part.querySelector(same)?.focus({ preventScroll: true });
}

/** A card; charts that were put into it are closed when something else is shown. */
export function createCard({ id, title, lead }) {
  const body = el("div", { class: "card-body" });
  const notes = el("ul", { class: "card-notes" });
  const tools = el("div", { class: "card-tools" });
  const heading = el("h2", { id: `card-${id}` }, title);
  const head = el("header", { class: "card-head" }, el("div", null, heading, el("p", { class: "soft" }, lead)), tools);
  const node = el("section", { class: "card insight-card", dataset: { card: id, state: "loading" }, "aria-labelledby": heading.id }, head, body, notes);
  let charts = [];

  function show(state, nodes, said = [], drawn = []) {
    for (const one of charts) one.close();
    charts = drawn;
    node.removeAttribute("aria-busy");
    mark(node, "state", state);
    keepFocus(body, () => replace(body, nodes));
    replace(notes, said.filter(Boolean).map((words) => el("li", null, words)));
  }

  return {
    node,
    /** The buttons beside the title. */
    tools: (nodes) => keepFocus(tools, () => replace(tools, nodes)),
    /** What is there stays, dimmed, until the new is. */
    loading() {
      node.setAttribute("aria-busy", "true");
      if (node.dataset.state === "ready") return;
      show("loading", [el("p", { class: "loading" }, PAGE.loading)]);
      node.setAttribute("aria-busy", "true");
    },
    ready: ({ nodes, notes: said, charts: drawn }) => show("ready", nodes, said, drawn),
    empty: (words, more = []) => show("empty", [el("p", { class: "card-empty" }, words), more]),
    problem(error, { again, change }) {
      const { title: what, detail, code, fix } = explain(error);
      const buttons = [el("button", { type: "button", class: "quiet small", onclick: again }, PAGE.again)];
      if (fix) buttons.unshift(el("button", { type: "button", class: "primary small", onclick: () => change(fix.change) }, fix.words));
      const panel = el("div", { class: "panel problem", role: "alert" }, el("h3", null, what), el("p", null, detail), el("p", { class: "code" }, el("code", null, code)), buttons);
      show("problem", [panel]);
    },
    close: () => show("empty", []),
  };
}

/** What the numbers mean, a sentence a line. */
export const sentences = (lines) => el("div", { class: "sentences" }, lines.map((words) => el("p", null, words)));

/** Facts as a list of terms: [[term, value, note], ...]. */
export const facts = (rows) =>
  el(
    "dl",
    { class: "facts" },
    rows.map(([term, value, note]) => el("div", null, el("dt", null, term), el("dd", null, value, note ? el("small", null, note) : null))),
  );

/** A table with numbers to the right: head [words], rows [[words or node]]. */
export const table = (title, head, rows) =>
  el(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": title },
    el(
      "table",
      null,
      el("caption", { class: "unseen" }, title),
      el("thead", null, el("tr", null, head.map((words, i) => el("th", { scope: "col", class: i ? "number" : null }, words)))),
      el("tbody", null, rows.map((row) => el("tr", null, row.map((words, i) => el(i ? "td" : "th", i ? { class: "number" } : { scope: "row" }, words))))),
    ),
  );

/** Buttons of which one is pressed: values {value: words}. */
export const choice = (title, values, chosen, choose) =>
  el(
    "div",
    { class: "choice", role: "group", "aria-label": title },
    Object.entries(values).map(([value, words]) =>
      el("button", { type: "button", class: "quiet small", dataset: { value }, "aria-pressed": String(value === chosen), onclick: () => choose(value) }, words),
    ),
  );
