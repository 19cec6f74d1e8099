// The filters of the list as a form. A change of the form is a change of the address.

import { el } from "../dom.js";
import { STATES, STATUSES } from "../words.js";
import { CHOICES, FILTERS, hashOf, localMoment, millisecondsOf, secondsOf, utcMoment } from "./filters.js";
import { AGREEMENTS, BAR, FILTER_NAMES, LIST, SOURCES } from "./words.js";

const ALWAYS = ["status", "agreement", "model", "source"];
const WORDS = {
  status: (value) => STATUSES[value]?.[0] ?? value,
  agreement: (value) => AGREEMENTS[value],
  source: (value) => SOURCES[value],
  outcome: (value) => STATES[value] ?? value,
};
const KINDS = { since: "datetime-local", until: "datetime-local", min_latency_ms: "number" };

/** What a field shows of a filter, and what it says of one. */
const shown = (name, value) => (KINDS[name] === "datetime-local" ? localMoment(value) : KINDS[name] === "number" ? secondsOf(value) : (value ?? ""));
const meant = (name, text) => (KINDS[name] === "datetime-local" ? utcMoment(text) : KINDS[name] === "number" ? millisecondsOf(text) : text.trim());

function control(name) {
  if (CHOICES[name]) {
    const options = CHOICES[name].map((value) => el("option", { value }, WORDS[name](value)));
    return el("select", { name, id: `filter-${name}` }, el("option", { value: "" }, BAR.any), options);
  }
  const bounds = KINDS[name] === "number" ? { min: "0", step: "any", inputmode: "decimal" } : { maxlength: "200" };
  const list = name === "model" ? { list: "runs-models" } : {};
  return el("input", { name, id: `filter-${name}`, type: KINDS[name] ?? "text", autocomplete: "off", spellcheck: "false", ...bounds, ...list });
}

const field = (name, made) => el("div", { class: "field" }, el("label", { for: `filter-${name}` }, FILTER_NAMES[name]), made);

/** The form. go(hash) is called when somebody changes it. */
export function createBar(go) {
  const controls = Object.fromEntries(FILTERS.map((name) => [name, control(name)]));
  const models = el("datalist", { id: "runs-models" });
  const more = el("summary", { id: "runs-more" }, BAR.more);
  const clear = el("button", { type: "button", class: "quiet small", id: "runs-clear", hidden: true, onclick: clearAll }, LIST.clear);
  const rest = FILTERS.filter((name) => !ALWAYS.includes(name));
  const box = el("details", null, more, el("div", { class: "fields" }, rest.map((name) => field(name, controls[name]))));
  const node = el(
    "form",
    { id: "runs-filters", class: "card", role: "search", "aria-label": BAR.label, autocomplete: "off" },
    el("div", { class: "fields" }, ALWAYS.map((name) => field(name, controls[name]))),
    el("div", { class: "runs-bar-foot" }, box, clear),
    models,
  );
  let current = {};
  let limit;

  /** As the form says; what nobody touched stays as the address has it, to the second and even if it is no good. */
  function filters() {
    const values = FILTERS.map((name) => {
      const text = controls[name].value;
      return [name, text === shownOf(name) ? current[name] : meant(name, text)];
    });
    return Object.fromEntries(values.filter(([, value]) => value));
  }

  /** What the control holds of the present filter; a choice that it does not have is shown as none. */
  function shownOf(name) {
    const text = shown(name, current[name]);
    return CHOICES[name] && !CHOICES[name].includes(text) ? "" : text;
  }

  function clearAll() {
    node.reset();
    go(hashOf({}, limit));
  }

  function changed(event) {
    event.preventDefault();
    const next = hashOf(filters(), limit);
    if (next !== hashOf(current, limit)) go(next);
  }
  node.addEventListener("change", changed);
  node.addEventListener("submit", changed);

  return {
    node,
    /** Show these filters; a field whose filter is as before keeps what somebody is typing there. */
    show(wanted, pageLimit) {
      const before = FILTERS.map(shownOf);
      [current, limit] = [wanted, pageLimit];
      FILTERS.map(shownOf).forEach((text, i) => {
        if (text !== before[i]) controls[FILTERS[i]].value = text;
      });
      const hidden = rest.filter((name) => current[name]).length;
      more.textContent = hidden > 0 ? BAR.moreActive(hidden) : BAR.more;
      if (hidden > 0) box.open = true;
      clear.hidden = Object.keys(current).length === 0;
    },
    /** Offer these models. */
    offer(names) {
      if (models.childElementCount !== names.length) models.replaceChildren(...names.map((value) => el("option", { value })));
    },
  };
}
