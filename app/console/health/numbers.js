// Percentiles of the last five minutes, hour and day, one span at a time.

import { el, replace } from "../dom.js";
import { cost, count, duration, laneWord, modelName, percent } from "../words.js";
import { age, routeRows, timeRows } from "./shape.js";
import { NUMBERS, TITLES } from "./words.js";

const PERCENTILES = ["p50", "p95", "p99"];

function line(label, times) {
  return el("tr", null, el("th", { scope: "row" }, label), el("td", { class: "number" }, count(times.n)), PERCENTILES.map((p) => el("td", { class: "number", dataset: { p } }, typeof times[p] === "number" ? duration(times[p]) : "–")));
}

function table(id, label, rows) {
  const heads = NUMBERS.columns.map((word, i) => (i === 0 ? el("td") : el("th", { scope: "col", class: "number" }, word)));
  return el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label }, el("table", { id }, el("thead", null, el("tr", null, heads)), el("tbody", null, rows)));
}

function labelOf({ kind, source, lane, model }) {
  if (kind === "run") return NUMBERS.run(source);
  return [(kind === "first" ? NUMBERS.first : NUMBERS.total)(laneWord(lane)), el("span", { class: "model" }, ` ${modelName(model)}`)];
}

function facts(span) {
  const pairs = [
    ["requests", NUMBERS.requests, NUMBERS.rate(count(span.requests.n), span.requests.per_second.toPrecision(2))],
    ["errors", NUMBERS.errors, percent(span.requests.error_rate)],
    ["hits", NUMBERS.hits, span.runs?.n > 0 ? percent(span.runs.cache_hit_rate) : "–"],
    ["cost", NUMBERS.cost, cost(span.cost_usd)],
  ];
  return el("dl", { class: "health-tiles" }, pairs.map(([name, word, value]) => el("div", { dataset: { value: name } }, el("dt", null, word), el("dd", null, value))));
}

/** Its node, and show(data of /metrics). */
export function createNumbers() {
  const buttons = Object.entries(NUMBERS.spans).map(([span, word]) => el("button", { type: "button", class: "quiet small", value: span, onclick: () => choose(span) }, word));
  const body = el("div");
  const routes = el("details", null, el("summary", null, NUMBERS.routes));
  let chosen = "1h";
  let data = null;

  function choose(span) {
    chosen = span;
    show(data);
  }

  function show(next) {
    data = next;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.value === chosen));
    const span = data.windows[chosen];
    const times = timeRows(span).map((row) => line(labelOf(row), row.times));
    replace(body, facts(span), times.length > 0 ? table("time-rows", TITLES.numbers, times) : el("p", { class: "soft" }, NUMBERS.nothing), el("p", { class: "soft health-note" }, NUMBERS.since(age(span.seconds))));
    const asked = routeRows(span);
    routes.hidden = asked.length === 0;
    replace(routes, routes.firstChild, table("route-rows", NUMBERS.routes, asked.map(([route, told]) => line(el("code", null, route), told))));
  }
  return { node: el("div", null, el("div", { id: "health-span", role: "group", "aria-label": NUMBERS.span }, buttons), body, routes), show };
}
