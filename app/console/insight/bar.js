// The filters above the cards. form#insight-filters; [data-span=VALUE] buttons; select or input [name=experiment|variant|
// prompt_class|model]; #insight-refresh, #insight-clear, #insight-asof.

import { el, put, replace } from "../dom.js";
import { count, modelName } from "../words.js";
import { choice, keepFocus } from "./card.js";
import { LABELS, narrowed } from "./query.js";
import { LABEL_WORDS, PAGE, SPAN_WORDS } from "./words.js";

const MOST = 300; // options of one list

/** How many runs each value of a label has, from groups by it; the variant only of the experiment that is chosen. */
export function optionsOf(groups, names, keep = () => true) {
  const found = new Map();
  for (const group of groups.filter(keep)) {
    const values = new Set(names.map((name) => group.key[name]).filter((value) => value !== null && value !== undefined));
    for (const value of values) found.set(value, (found.get(value) ?? 0) + group.n);
  }
  return [...found].filter(([, n]) => n > 0).toSorted(([a], [b]) => a.localeCompare(b)).map(([value, n]) => ({ value, n }));
}

const worded = (name, { value, n }) => `${name === "model" ? modelName(value) : value}${n === null ? "" : ` (${count(n)})`}`;

/** A list to choose from; a text field where the values are not known or too many. */
function field(name, options, chosen, change) {
  const choose = (event) => change({ [name]: event.target.value });
  if (options === null || options.length > MOST) return el("input", { name, value: chosen ?? "", placeholder: PAGE.any, maxlength: "200", autocomplete: "off", onchange: choose });
  const known = chosen && !options.some(({ value }) => value === chosen) ? [{ value: chosen, n: null }, ...options] : options;
  const rows = known.map((one) => el("option", { value: one.value, selected: one.value === chosen }, worded(name, one)));
  return el("select", { name, onchange: choose }, el("option", { value: "", selected: !chosen }, PAGE.any), rows);
}

/** The bar. change({name: value}) is called when somebody chooses; refresh() when they want new numbers. */
export function createBar({ change, refresh }) {
  const spans = el("div", { class: "bar-spans" });
  const lists = el("div", { class: "fields bar-lists" });
  const clear = el("button", { type: "button", id: "insight-clear", class: "quiet small", onclick: () => change(Object.fromEntries(LABELS.map((name) => [name, ""]))) }, PAGE.clear);
  const again = el("button", { type: "button", id: "insight-refresh", class: "quiet small", onclick: refresh }, PAGE.refresh);
  const asOf = el("p", { id: "insight-asof", class: "soft" });
  const node = el(
    "form",
    { id: "insight-filters", class: "card", "aria-label": PAGE.filters, onsubmit: (event) => event.preventDefault() },
    el("div", { class: "bar-top" }, spans, asOf, again),
    lists,
    el("div", { class: "bar-foot" }, clear),
  );

  return {
    node,
    /** Show these filters, with what there is to choose; null: not known. */
    show(filters, options) {
      keepFocus(spans, () => replace(spans, choice("Span", SPAN_WORDS, filters.span, (span) => change({ span }))));
      const fields = LABELS.map((name) => el("label", { class: "field" }, LABEL_WORDS[name], field(name, options[name], filters[name], change)));
      keepFocus(lists, () => replace(lists, fields));
      clear.hidden = !narrowed(filters);
    },
    asOf: (words) => put(asOf, words),
  };
}
