// The events of a run on a time axis, which is a slider too: what is to its right has not happened yet.

import { label, ticks } from "../draw/axis.js";
import { attr, el, mark, put, replace, svg } from "../dom.js";
import { LANES } from "./fold.js";
import { marksOf, momentsOf } from "./marks.js";
import { countUntil } from "./player.js";
import { readoutOf } from "./readout.js";
import { LANE_NAMES, LEGEND, ONE } from "./words.js";

const HEIGHT = 118;
const LEFT = 46;
const RIGHT = 14;
const ROWS = { fast: 26, slow: 66 };
const FLOOR = 92;
const NARROW = 480;

/** One path for all ticks of a lane; ticks that would fall on one another are drawn once. */
export function tickPath(times, x, y, height) {
  let [path, last] = ["", -1];
  for (const at of times) {
    const place = Math.round(x(at) * 2) / 2;
    if (place === last) continue;
    path += `M${place} ${y - height / 2}v${height}`;
    last = place;
  }
  return path;
}

const diamond = (x, y, size, props) => svg("path", { d: `M${x - size} ${y}l${size} ${-size}l${size} ${size}l${-size} ${size}z`, ...props });

function laneParts(name, lane, x, marks) {
  const y = ROWS[name];
  return svg(
    "g",
    { class: `axis-lane axis-${name}` },
    svg("text", { x: 0, y: y + 4 }, LANE_NAMES[name]),
    lane.end === null ? null : svg("line", { class: "axis-band", x1: x(0), x2: x(lane.end), y1: y, y2: y }),
    svg("path", { class: "axis-thinking", d: tickPath(lane.thinking, x, y, 8) }),
    svg("path", { class: "axis-ticks", d: tickPath(lane.answer, x, y, 16) }),
    lane.first === null ? null : svg("circle", { class: "axis-first", cx: x(lane.first), cy: y - 13, r: 3.5 }),
    name === "fast" && marks.preliminary !== null ? diamond(x(marks.preliminary), y - 13, 5, { class: "axis-preliminary" }) : null,
    lane.end === null ? null : svg("line", { class: "axis-end", x1: x(lane.end), x2: x(lane.end), y1: y - 11, y2: y + 11 }),
    marks.final?.lane === name ? diamond(x(marks.final.at), y + 15, 5, { class: "axis-final" }) : null,
  );
}

function scaleParts(x, totalMs, width) {
  const at = ticks(0, totalMs, { kind: "ms", count: width < NARROW ? 4 : 8 });
  return [
    svg("line", { class: "axis-floor", x1: x(0), x2: x(totalMs), y1: FLOOR, y2: FLOOR }),
    at.map((ms) => [
      svg("line", { class: "axis-floor", x1: x(ms), x2: x(ms), y1: FLOOR, y2: FLOOR + 4 }),
      svg("text", { class: "axis-time", x: x(ms), y: FLOOR + 18, "text-anchor": ms === 0 ? "start" : x(ms) > width - 40 ? "end" : "middle" }, label(ms, "ms")),
    ]),
  ];
}

const legend = () => el("ul", { class: "axis-legend", "aria-hidden": "true" }, Object.entries(LEGEND).map(([kind, word]) => el("li", { dataset: { kind } }, word)));

/** events: timed ones. seek(count) is called when somebody wants to see the run as it was after so many. */
export function createAxis(events, seek) {
  const times = events.map(({ at }) => at);
  const marks = marksOf(events);
  const totalMs = Math.max(1, marks.totalMs);
  const stops = momentsOf(events).map(({ seq }) => seq + 1);
  const head = svg("line", { class: "axis-head", y1: 4, y2: FLOOR + 4 });
  const veil = svg("rect", { class: "axis-veil", y: 0, height: FLOOR });
  const picture = svg("svg", { height: HEIGHT, "aria-hidden": "true", focusable: "false" });
  const slider = el("div", { id: "one-axis", role: "slider", tabindex: "0", "aria-label": ONE.axisName, "aria-describedby": "one-axis-hint", "aria-valuemin": 1, "aria-valuemax": events.length }, picture);
  const readout = el("p", { id: "one-readout" });
  let [width, count, position] = [0, events.length, totalMs];

  const x = (ms) => LEFT + (ms / totalMs) * (width - LEFT - RIGHT);

  function draw() {
    width = Math.max(240, Math.round(slider.clientWidth));
    attr(picture, "viewBox", `0 0 ${width} ${HEIGHT}`);
    attr(picture, "width", width);
    const done = marks.done === null ? null : svg("line", { class: "axis-done", x1: x(marks.done), x2: x(marks.done), y1: 8, y2: FLOOR });
    replace(picture, scaleParts(x, totalMs, width), LANES.map((name) => laneParts(name, marks.lanes[name], x, marks)), done, veil, head);
    place();
  }

  function place() {
    const at = x(position);
    attr(head, "x1", at);
    attr(head, "x2", at);
    attr(veil, "x", at);
    attr(veil, "width", Math.max(0, width - at));
  }

  /** Step by event with the arrows, by moment with the page keys. */
  function onKey(event) {
    const next = {
      ArrowLeft: () => count - 1,
      ArrowDown: () => count - 1,
      ArrowRight: () => count + 1,
      ArrowUp: () => count + 1,
      PageDown: () => stops.findLast((stop) => stop < count) ?? 1,
      PageUp: () => stops.find((stop) => stop > count) ?? events.length,
      Home: () => 1,
      End: () => events.length,
    }[event.key];
    if (!next || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    seek(Math.max(1, Math.min(events.length, next())));
  }

  function onPointer(event) {
    if (event.type === "pointerdown") slider.setPointerCapture(event.pointerId);
    else if (!slider.hasPointerCapture(event.pointerId)) return;
    const ms = ((event.clientX - slider.getBoundingClientRect().left - LEFT) / (width - LEFT - RIGHT)) * totalMs;
    seek(Math.max(1, countUntil(times, ms)));
  }
  slider.addEventListener("keydown", onKey);
  slider.addEventListener("pointerdown", onPointer);
  slider.addEventListener("pointermove", onPointer);

  const watcher = new ResizeObserver(draw);
  watcher.observe(slider);
  return {
    node: el("div", { class: "axis" }, slider, readout, legend()),
    /** How far it is. */
    show(next) {
      ({ count, position } = next);
      const words = readoutOf(events, count);
      attr(slider, "aria-valuenow", count);
      attr(slider, "aria-valuetext", words);
      put(readout, words);
      mark(slider, "phase", next.phase);
      if (width > 0) place();
    },
    close: () => watcher.disconnect(),
  };
}
