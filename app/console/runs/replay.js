// The time axis of a run with the buttons that play it again. Nothing is asked of a model: all of it was recorded.

import { el, mark, put } from "../dom.js";
import { createAxis } from "./axis.js";
import { fold } from "./fold.js";
import { createPlayer } from "./player.js";
import { momentRows } from "./readout.js";
import { ONE } from "./words.js";

const speedOf = (text) => (text === "instant" ? Infinity : Number(text));

function table(events) {
  const heads = ONE.momentColumns.map((word) => el("th", { scope: "col" }, word));
  const rows = momentRows(events).map((cells) => el("tr", null, cells.map((text) => el("td", null, text))));
  const made = el("table", { id: "one-moments" }, el("thead", null, el("tr", null, heads)), el("tbody", null, rows));
  return el("details", null, el("summary", null, ONE.moments), el("div", { class: "scroll" }, made));
}

/** events: timed ones. paint(state of fold.js) is called for every step; calm: nobody wants to see things move. */
export function createReplay(events, paint, { calm }) {
  let state = fold(events, events.length);
  const axis = createAxis(events, (count) => player.seek(count));
  const button = el("button", { type: "button", class: "primary small", id: "one-replay", onclick: toggle }, ONE.replay);
  const speeds = ONE.speeds.map(([speed, word]) => el("button", { type: "button", class: "quiet small", dataset: { speed }, onclick: () => choose(speed) }, word));
  const group = el("div", { id: "one-speed", role: "group", "aria-label": ONE.speed }, speeds);
  const hint = el("p", { class: "soft", id: "one-axis-hint" }, ONE.timelineHint);
  const node = el("section", { class: "card", id: "one-player" }, el("div", { class: "one-player-head" }, el("h2", null, ONE.timeline), button, group), hint, axis.node, table(events));

  const player = createPlayer(
    events.map(({ at }) => at),
    {
      show(next) {
        state = fold(events, next.count, state);
        mark(node, "phase", next.phase);
        put(button, { playing: ONE.pause, paused: next.count < events.length ? ONE.resume : ONE.replay }[next.phase] ?? ONE.replay);
        put(hint, next.phase === "playing" ? ONE.replaying : ONE.timelineHint);
        axis.show(next);
        paint(state);
      },
    },
  );

  function toggle() {
    if (player.state.phase === "playing") player.pause();
    else player.play();
  }

  function choose(speed) {
    for (const one of speeds) one.setAttribute("aria-pressed", String(one.dataset.speed === speed));
    player.setSpeed(speedOf(speed));
  }

  choose(calm ? "instant" : "1");
  mark(node, "phase", "idle");
  axis.show(player.state);
  return {
    node,
    close() {
      player.close();
      axis.close();
    },
  };
}
