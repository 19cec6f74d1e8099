// What can be said of a run in one word and one sentence, and what of it is said aloud. Pure.

import * as say from "../words.js";
import { canStop, isGuest, originOf } from "./run.js";
import { ADVICE, LOST, PHASES, tryAgain } from "./words.js";

function ended(state) {
  if (state.stopped === "unheard") return ["cancelled", ...PHASES.unheard];
  if (state.stopped) return ["cancelled", ...(isGuest(state) ? PHASES.left : PHASES.stopped)];
  return ["ended", ...PHASES.away];
}

function asking(state) {
  if (state.hold !== null) return [state.hold, ...PHASES[state.hold]];
  return ["asking", ...(state.resumed ? PHASES.resumed : PHASES.asking)];
}

function live({ preliminary, lanes }) {
  if (preliminary) return ["live", ...PHASES.preliminary];
  if (lanes.fast.end) return ["live", ...PHASES.alone];
  const failed = lanes.slow.end && lanes.slow.end.outcome !== "completed"; // whose answer is there is said by the final, next
  return ["live", ...(failed ? PHASES.unchecked : PHASES.live)];
}

/** [kind, word, sentence]; kind is the change of `final`, the status of `done`, or the phase. */
export function verdictOf(state) {
  const { final, done, phase } = state;
  if (final) {
    const [word, text] = say.CHANGES[final.change] ?? [final.change, ""];
    const why = final.change === "unverified" ? say.UNCHECKED[done?.reason] ?? say.UNCHECKED[done?.status] : null;
    return [final.change, word, why ?? text];
  }
  if (done) return [done.status, (say.STATUSES[done.status] ?? PHASES.ended)[0], say.meaningOf(done) || PHASES.ended[1]];
  if (phase === "over") return ended(state);
  if (phase === "lost") return ["lost", LOST.word, ""];
  return phase === "asking" ? asking(state) : live(state);
}

/** The sentence with where the answer comes from. */
export const sentenceOf = (state) => verdictOf(state)[2] + (say.ORIGINS[originOf(state)] ?? "");

/** How the page is coming back, with a countdown, or that it cannot now; empty while all is well. */
export function searchOf(state, now, online = true) {
  if (canStop(state) && !online) return LOST.offline;
  if (state.phase !== "lost") return "";
  return LOST.text(state.attempt, Math.max(0, Math.ceil(((state.retryAt ?? now) - now) / 1000)));
}

/** A refusal in words: what the server says, and what to do about it. */
export function problemWords({ detail = "", code, retryAfter }) {
  const sentence = detail === "" || /[.!?…”]$/.test(detail) ? detail : `${detail}.`;
  return [sentence, ADVICE[code], retryAfter ? tryAgain(retryAfter) : null].filter(Boolean).join(" ");
}

/** What is said aloud when one state follows another: states, and the answer once it stands; never a token. */
export function heardOf(before, state) {
  const [[was], [is, word]] = [verdictOf(before), verdictOf(state)];
  if (state.phase === "idle" || state.problem) return ""; // the problem is an alert of its own
  if (is === was && before.preliminary === state.preliminary && canStop(before) === canStop(state)) return "";
  const final = state.final && state.final !== before.final ? ` ${say.laneWord(state.final.lane)}: ${state.final.text.slice(0, 300)}` : "";
  if (is === was && state.final) return "";
  return `${word}. ${sentenceOf(state)}${final}`.trim();
}

/** Whose answer would be copied: the final, else the longest that there is. */
export function answerOf({ final, lanes, preliminary }) {
  if (final) return final.text ?? lanes[final.lane].text;
  return preliminary?.text ?? (lanes.slow.text.length > lanes.fast.text.length ? lanes.slow.text : lanes.fast.text);
}

