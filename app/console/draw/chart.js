// Charts as SVG by hand. `chart(layout, spec)` makes a figure: a legend, the picture, what it says at the place that is
// pointed at or reached with the arrow keys, and all of it as a table. The layouts are pure: plot.js and bars.js.
//
// spec: {id, title, description, legend: [{name, tone, dash, spot, stripes, box}], table: {head, rows}, read(value) -> [text, ...],
//        hint, tableName} and what its layout needs.
// In the page: figure[data-chart=ID], svg[role=img], .readout, details.numbers.

import { bars, columns } from "./bars.js";
import { plot } from "./plot.js";
import { attr, el, replace, svg } from "../dom.js";

const SETTLE_MS = 90; // a box that is being dragged is drawn once it rests
const LAYOUTS = { plot, bars, columns };

const shape = ({ tag, text, ...attributes }) => svg(tag, attributes, text);

/** The pattern that tells striped parts from plain ones. */
function stripes(id) {
  const turned = { id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" };
  return svg("defs", null, svg("pattern", turned, svg("line", { class: "stripe", x1: 0, y1: 0, x2: 0, y2: 6 })));
}

/** One entry of the legend: drawn as the thing itself is, so that no colour is needed to know it. */
function sample(id, { tone, dash = "solid", spot, stripes: striped, box }) {
  const parts = box
    ? [
        svg("rect", { class: `bar tone-${tone}`, x: 5, y: 0, width: 16, height: 12 }),
        striped && svg("rect", { class: "stripes", fill: `url(#${id})`, x: 5, y: 0, width: 16, height: 12 }),
      ]
    : [
        svg("line", { class: `line tone-${tone} ${dash}`, x1: 0, x2: 26, y1: 6, y2: 6 }),
        spot === "circle" && svg("circle", { class: `spot tone-${tone}`, cx: 13, cy: 6, r: 3.2 }),
        spot === "square" && svg("rect", { class: `spot tone-${tone}`, x: 9.8, y: 2.8, width: 6.4, height: 6.4 }),
      ];
  return svg("svg", { class: "sample", viewBox: "0 0 26 12", width: 26, height: 12, "aria-hidden": "true" }, parts);
}

function tableOf({ title, table }) {
  const head = el("tr", null, table.head.map((words) => el("th", { scope: "col" }, words)));
  const rows = table.rows.map((row) => el("tr", null, row.map((words, i) => el(i ? "td" : "th", i ? null : { scope: "row" }, words))));
  const made = el("table", null, el("caption", { class: "unseen" }, title), el("thead", null, head), el("tbody", null, rows));
  return el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": title }, made);
}

/** A figure that draws itself as wide as its box; close() when it leaves the page. */
export function chart(layout, spec) {
  const ids = { stripes: `stripes-${spec.id}`, title: `title-${spec.id}`, about: `about-${spec.id}` };
  const picture = svg("svg", { role: "img", "aria-labelledby": ids.title, "aria-describedby": ids.about });
  const box = el("div", { class: "chart-box", tabindex: "0", role: "group", "aria-label": `${spec.title}. ${spec.hint}` }, picture);
  const entries = (spec.legend ?? []).map((one) => el("li", null, sample(ids.stripes, one), one.name));
  const legend = el("ul", { class: "legend", hidden: entries.length < 2 }, entries);
  const readout = el("p", { class: "readout resting", "aria-live": "off" }, spec.hint);
  const details = el("details", { class: "numbers" }, el("summary", null, spec.tableName));
  const figure = el("figure", { class: "chart", dataset: { chart: spec.id } }, legend, box, readout, details);
  const state = { width: 0, drawn: null, at: -1, cursor: null };

  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(tableOf(spec));
  });

  function draw(width) {
    state.width = width;
    state.drawn = LAYOUTS[layout](spec, width);
    attr(picture, "viewBox", `0 0 ${width} ${state.drawn.height}`);
    attr(picture, "width", width);
    attr(picture, "height", state.drawn.height);
    const shapes = state.drawn.shapes.map((one) => shape(one.fill === "url(#stripes)" ? { ...one, fill: `url(#${ids.stripes})` } : one));
    state.cursor = svg("line", { class: "cursor" });
    const words = [svg("title", { id: ids.title }, spec.title), svg("desc", { id: ids.about }, spec.description)];
    replace(picture, words, stripes(ids.stripes), shapes, state.cursor);
    if (state.at >= 0) read(state.at);
  }

  function read(index) {
    const stop = state.drawn.stops[index];
    if (stop === undefined) return;
    state.at = index;
    const { left, right, top, bottom } = state.drawn.area;
    const place = state.drawn.down ? { x1: left, x2: right, y1: stop.y + 12, y2: stop.y + 12 } : { x1: stop.x, x2: stop.x, y1: top, y2: bottom };
    for (const [name, value] of Object.entries(place)) attr(state.cursor, name, value);
    state.cursor.classList.add("on");
    readout.classList.remove("resting");
    replace(readout, spec.read(stop.value).map((words, i) => el(i ? "span" : "strong", null, words)));
  }

  function forget() {
    state.at = -1;
    state.cursor?.classList.remove("on");
    readout.classList.add("resting");
    replace(readout, spec.hint);
  }

  function nearest({ clientX, clientY }) {
    const { left, top } = picture.getBoundingClientRect();
    const far = (stop) => Math.abs(state.drawn.down ? stop.y - (clientY - top) : stop.x - (clientX - left));
    return state.drawn.stops.reduce((best, stop, i, all) => (far(stop) < far(all[best]) ? i : best), 0);
  }

  function point(event) {
    if (state.drawn === null || state.drawn.stops.length === 0) return;
    readout.setAttribute("aria-live", "off"); // who points sees it; only who steps with keys is told aloud
    read(nearest(event));
  }

  function step(event) {
    const last = (state.drawn?.stops.length ?? 0) - 1;
    const to = { ArrowLeft: state.at - 1, ArrowUp: state.at - 1, ArrowRight: state.at + 1, ArrowDown: state.at + 1, Home: 0, End: last }[event.key];
    if (event.key === "Escape") forget();
    if (to === undefined || last < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    readout.setAttribute("aria-live", "polite");
    read(Math.max(0, Math.min(last, to)));
  }

  box.addEventListener("pointermove", point);
  box.addEventListener("pointerdown", point);
  box.addEventListener("pointerleave", forget);
  box.addEventListener("keydown", step);
  box.addEventListener("blur", forget);
  const stop = follow(box, (width) => Math.abs(width - state.width) >= 1 && draw(width));
  return { node: figure, close: stop };
}

/** Tell how wide a box is: at once at first, later when it rests. Returns what ends it. */
function follow(box, tell) {
  let timer = 0;
  let first = true;
  const observer = new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width < 1) return;
    clearTimeout(timer);
    if (first) tell(width);
    else timer = setTimeout(tell, SETTLE_MS, width);
    first = false;
  });
  observer.observe(box);
  return () => {
    clearTimeout(timer);
    observer.disconnect();
  };
}
