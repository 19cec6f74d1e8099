// What the time axis shows: every delta a tick, and the moments that count.

import { LANES } from "./fold.js";

/** The events with the moment of each, in milliseconds from the start; null where that is not kept. */
export function timed(events, atMs) {
  const known = Array.isArray(atMs) && atMs.length >= events.length;
  let last = 0;
  return events.map((event, i) => {
    last = known && typeof atMs[i] === "number" ? Math.max(last, atMs[i]) : last; // never backwards
    return { ...event, at: known ? last : null };
  });
}

const blank = () => ({ answer: [], thinking: [], first: null, end: null, outcome: null });

/** Where everything is on the axis. */
export function marksOf(events) {
  const marks = { lanes: Object.fromEntries(LANES.map((name) => [name, blank()])), preliminary: null, final: null, done: null, totalMs: 0 };
  for (const { name, data, at } of events) {
    const lane = marks.lanes[data?.lane];
    marks.totalMs = Math.max(marks.totalMs, at);
    if (name === "delta" && lane) {
      lane[data.kind === "thinking" ? "thinking" : "answer"].push(at);
      if (data.kind !== "thinking" && lane.first === null && data.text.trim() !== "") lane.first = at;
    } else if (name === "lane_end" && lane) Object.assign(lane, { end: at, outcome: data.outcome });
    else if (name === "final") marks.final = { at, lane: data.lane };
    else if (name === "preliminary" || name === "done") marks[name] = at;
  }
  return marks;
}

/** The events that a person would tell of, with the number of each: no delta but each lane's first. */
export function momentsOf(events) {
  const begun = new Set();
  const told = [];
  events.forEach(({ name, data, at }, seq) => {
    if (name !== "delta") return void told.push({ seq, name, data, at });
    const kind = data.kind === "thinking" ? "first_thought" : data.text.trim() === "" ? null : "first_token";
    if (kind === null || begun.has(data.lane + kind)) return;
    begun.add(data.lane + kind);
    told.push({ seq, name: kind, data, at });
  });
  return told;
}
