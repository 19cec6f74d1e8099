// One event, and the moments of a run, in words.

import { CHANGES, duration, STATES, STATUSES } from "../words.js";
import { momentsOf } from "./marks.js";
import { LANE_NAMES, MOMENTS, READOUT } from "./words.js";

const TEXT_CHARS = 60;

const cut = (text) => (text.length > TEXT_CHARS ? `${text.slice(0, TEXT_CHARS)}…` : text);

/** What happened at a moment. */
export const sayMoment = ({ name, data }) => MOMENTS[name]?.(data, { states: STATES, changes: CHANGES, statuses: STATUSES }) ?? name;

/** What the event that was the last of the first `count` says. */
export function readoutOf(events, count) {
  const event = events[count - 1];
  if (!event) return "";
  const { name, data, at } = event;
  const said = name === "delta" ? READOUT.delta(data.lane, data.kind, cut(data.text)) : sayMoment(event);
  const lane = name === "lane_end" && LANE_NAMES[data.lane] ? `${LANE_NAMES[data.lane]}: ` : "";
  return `${READOUT.place(count, events.length, at === null ? null : duration(at))} · ${lane}${said}`;
}

/** The moments as rows: time, lane, words. */
export const momentRows = (events) => momentsOf(events).map((moment) => [duration(moment.at), LANE_NAMES[moment.data?.lane] ?? "–", sayMoment(moment)]);
