// The choices of a question, remembered in this browser. What is left empty is the server's to decide.
//
// #options (details) and #option-NAME, NAME one of FIELDS; #options-reset.

import { el, put } from "../dom.js";
import { CACHES, OPTIONS, POLICIES } from "./words.js";

const KEY = "tandem.options";
const MODELS_MAX = 50;
const FIELDS = ["fast", "slow", "policy", "fastTimeout", "slowTimeout", "deadline", "cache"];
const NUMBERS = new Set(["fastTimeout", "slowTimeout", "deadline"]);

const lane = (model, timeout) => ({ ...(model ? { model } : {}), ...(timeout ? { timeout_s: Number(timeout) } : {}) });

/** The fields of a request for the choices that were made; an empty one is not sent. */
export function bodyOf(chosen) {
  const body = { fast: lane(chosen.fast, chosen.fastTimeout), slow: lane(chosen.slow, chosen.slowTimeout) };
  for (const name of ["fast", "slow"]) if (Object.keys(body[name]).length === 0) delete body[name];
  if (chosen.deadline) body.deadline_s = Number(chosen.deadline);
  for (const name of ["policy", "cache"]) if (chosen[name]) body[name] = chosen[name];
  return body;
}

/** Only what is a choice: known names, numbers above 0, options that there are. */
export function readable(found) {
  const kept = {};
  for (const name of FIELDS) {
    const value = typeof found?.[name] === "string" ? found[name].trim().slice(0, 300) : "";
    const known = name === "policy" ? POLICIES : name === "cache" ? CACHES : null;
    if (value !== "" && (!known || Object.hasOwn(known, value)) && (!NUMBERS.has(name) || Number(value) > 0)) kept[name] = value;
  }
  return kept;
}

function stored() {
  try {
    return readable(JSON.parse(localStorage.getItem(KEY)));
  } catch {
    return {}; // no storage, or not ours
  }
}

function store(chosen) {
  try {
    if (Object.keys(chosen).length === 0) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, JSON.stringify(chosen));
  } catch {
    // no storage: chosen for as long as the page is open
  }
}

function field(name, control, note = null) {
  const id = `option-${name}`;
  control.id = id;
  control.name = name;
  return el("div", { class: "field" }, el("label", { for: id }, OPTIONS[name]), control, note);
}

const select = (choices) => el("select", null, el("option", { value: "" }, OPTIONS.default), Object.entries(choices).map(([value, words]) => el("option", { value }, words)));
const model = () => el("input", { type: "text", list: "models", maxlength: 300, spellcheck: "false", autocapitalize: "off", autocomplete: "off", placeholder: OPTIONS.default });
const seconds = () => el("input", { type: "number", min: 0.1, max: 3600, step: "any", inputmode: "decimal", placeholder: OPTIONS.default });

export function createOptions() {
  const controls = { fast: model(), slow: model(), policy: select(POLICIES), fastTimeout: seconds(), slowTimeout: seconds(), deadline: seconds(), cache: select(CACHES) };
  const models = el("datalist", { id: "models" });
  const summary = el("summary", null, OPTIONS.summary);
  const reset = el("button", { id: "options-reset", type: "button", class: "quiet small" }, OPTIONS.reset);
  const node = el(
    "details",
    { id: "options" },
    summary,
    el("div", { class: "fields" }, FIELDS.map((name) => field(name, controls[name]))),
    models,
    el("div", { class: "foot" }, el("p", null, OPTIONS.kept), reset),
  );
  let chosen = {};

  function set(next) {
    chosen = next;
    for (const name of FIELDS) if (controls[name].value !== (chosen[name] ?? "")) controls[name].value = chosen[name] ?? "";
    count();
  }

  function count() {
    const n = Object.keys(chosen).length;
    put(summary, n === 0 ? OPTIONS.summary : OPTIONS.changed(n));
    reset.hidden = n === 0;
  }

  node.addEventListener("input", () => {
    chosen = readable(Object.fromEntries(FIELDS.map((name) => [name, controls[name].value])));
    store(chosen);
    count();
  });
  reset.addEventListener("click", () => {
    store({});
    set({});
    summary.focus();
  });
  set(stored());

  return {
    node,
    /** What a question carries. */
    body: () => bodyOf(chosen),
    /** A run that was asked with this body told what the server takes where nothing was chosen. */
    learn(start, body) {
      for (const lane of ["fast", "slow"]) {
        const known = start.lanes?.[lane]?.model;
        if (known && !body[lane]?.model) controls[lane].placeholder = OPTIONS.defaultIs(known);
      }
      if (typeof start.deadline_ms === "number" && !body.deadline_s) controls.deadline.placeholder = OPTIONS.defaultIs(start.deadline_ms / 1000);
    },
    /** Models that can be chosen from: those that runs have used. */
    offer(names) {
      const known = new Set([...models.children].map((option) => option.value));
      const fresh = [...new Set(names)].filter((name) => name && !known.has(name)).slice(0, MODELS_MAX - known.size);
      models.append(...fresh.map((name) => el("option", { value: name })));
    },
  };
}
