// The English of the shell and of what every page says: outcomes, numbers, problems. What is not known is never 0.

export const UNKNOWN = "unknown";

export const PAGES = {
  "": "Ask",
  runs: "Runs",
  insight: "Insight",
  health: "Health",
};

export const SHELL = {
  title: "Tandem",
  loading: "Loading…",
  broken: { title: "This page could not be opened", detail: "A part of it did not arrive, or failed. Is the server running?" },
  nowhere: { title: "There is no such page", detail: "The address names no page of this console. Choose one above." },
  again: "Try again",
  signIn: "This server answers to holders of a key. This browser keeps a cookie instead of it.",
  noCookie: "The key is good, but this browser kept no cookie for this address. From another machine open the page by https.",
  noKey: "A key has neither spaces nor special characters.",
  unreachable: "The server cannot be reached. Try again.",
};

export const PROBLEMS = {
  unreachable: { title: "The server cannot be reached", detail: "Is it running? Start it with “make run” and try again." },
  unexplained: { title: "The request was refused", detail: "The answer to the request carried no explanation." },
  unreadable: { title: "The answer could not be read", detail: "The server answered with something that is not JSON. A proxy in between may have replaced it." },
};

/** 840 ms, 3.24 s, 2 min 05 s. */
export function duration(ms) {
  if (typeof ms !== "number") return UNKNOWN;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_995) return `${(ms / 1000).toFixed(2)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`;
}

/** A running clock: tenths, so that it does not flicker. */
export const clock = (ms) => (ms < 59_950 ? `${(ms / 1000).toFixed(1)} s` : duration(ms));

const LEAST_USD = 0.000001; // what six digits can show

export function cost(usd) {
  if (typeof usd !== "number") return UNKNOWN;
  if (usd === 0) return "$0";
  if (Math.abs(usd) < LEAST_USD / 2) return `below $${LEAST_USD.toFixed(6)}`;
  return usd < 0.01 ? `$${usd.toFixed(6).replace(/0+$/, "")}` : `$${usd.toFixed(4)}`;
}

export const count = (value) => (typeof value === "number" ? value.toLocaleString("en") : UNKNOWN);

/** 0.424 is 42.4 %. */
export const percent = (x) => (typeof x === "number" ? `${(100 * x).toFixed(1).replace(/\.0$/, "")} %` : UNKNOWN);

/** The time of day, with the date unless it is today; what is no time is returned as it is. */
export function when(iso) {
  const at = new Date(iso ?? Number.NaN);
  if (Number.isNaN(at.getTime())) return iso ?? UNKNOWN;
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString()} ${time}`;
}

/** Input and output tokens, and where the numbers come from unless the model reported them. */
export function tokens(usage) {
  if (!usage || usage.source === "unknown") return UNKNOWN;
  const origin = usage.source === "estimated" ? " (estimated)" : "";
  return `${count(usage.input_tokens)} in, ${count(usage.output_tokens)} out${origin}`;
}

/** One lane's output tokens; a number that was counted by us and not by the model is marked as such. */
export function outputTokens(usage) {
  const known = typeof usage?.output_tokens === "number" && usage.source !== "unknown";
  return known ? `${usage.source === "estimated" ? "≈" : ""}${count(usage.output_tokens)}` : UNKNOWN;
}

/** provider:model without the provider's noise of a file path. */
export const modelName = (model) => (model ? model.replace(/:\/?(?:[^:@]*\/)+/, ":") : "");

/** A lane as it runs, and how it ended. */
export const STATES = {
  waiting: "Waiting",
  thinking: "Thinking",
  answering: "Answering",
  completed: "Completed",
  timeout: "Timed out",
  failed: "Failed",
  incomplete: "Cut short",
  empty: "Empty answer",
  cancelled: "Cancelled",
  refused: "Declined",
};

/** What the final is to the preliminary: a word, and what it means. */
export const CHANGES = {
  confirmed: ["Confirmed", "Both models give the same answer, each on its own."],
  revised: ["Revised", "The slow model came to a different answer. Its answer stands; the preliminary one does not."],
  undetermined: [
    "Undecided",
    "Both models answered, but whether they say the same could not be decided. The slow model’s answer stands; compare the two.",
  ],
  unopposed: ["Unopposed", "Only the slow model completed an answer, so there was nothing to compare it with."],
  unverified: ["Unverified", "The fast answer stands alone: the slow model did not get to check it."],
};

/** How a run ended: a word, and what it means. */
export const STATUSES = {
  running: ["Running", "The run has not ended yet."],
  completed: ["Completed", "The run completed."],
  partial: ["Partial", "The fast answer stands alone."],
  timeout: ["Timed out", "Neither model completed an answer in time. What they had said so far is below."],
  failed: ["Failed", "Neither model completed an answer. The lanes say why."],
  cancelled: ["Cancelled", "The run was stopped before an answer was complete."],
  shutdown: ["Shut down", "The server was stopped before an answer was complete."],
};

/** What a status means; nobody knows whether a model had completed when the server was cut off. */
export const meaningOf = ({ status, reason }) => (reason === "interrupted" ? REASONS.interrupted : STATUSES[status]?.[1]) ?? "";

/** Why a lane was ended from outside, when the server adds no words of its own. */
export const REASONS = {
  accepted: "You took the fast answer.",
  superseded: "The slow answer was complete first.",
  cancelled: "The run was stopped.",
  shutdown: "The server was stopped.",
  interrupted: "The server was cut off before the run had ended.",
};

/** Of an answer that `finish_reason: length` ends, often in the middle of a sentence. */
export const CUT = "It stopped at its limit of tokens.";

export const AUDIT = { durable: "stored", pending: "not yet stored" };

/** The model's lane that stands, in a word people use. */
export const laneWord = (lane) => (lane === "fast" ? "Fast" : "Slow");

/** What is said of an answer that is no run of its own, behind the verdict. */
export const ORIGINS = {
  cache: " From the cache: this is how both models answered the same question before.",
  attached: " You joined a run that was already answering this question.",
};

export const SOURCES = { live: "asked now", cache: "from the cache", attached: "joined" };

/** An unverified answer says who did not let it be checked. */
export const UNCHECKED = {
  accepted: "You took the fast answer before the slow model could check it.",
  cancelled: "The run was stopped before the slow model could check the fast answer.",
  shutdown: "The server was stopped before the slow model could check the fast answer.",
};

/** The keyboard, for the help dialog. */
export const HELP = {
  title: "Keys",
  open: "Keys and help",
  close: "Close",
  rows: [
    [["Enter"], "Ask the question"],
    [["Shift", "Enter"], "Start a new line"],
    [["Esc"], "Stop the run"],
    [["Ctrl", "Enter"], "Take the preliminary answer"],
    [["Alt", "Q"], "Go to the question"],
    [["Alt", "W"], "Show what changed"],
    [["Alt", "C"], "Copy the answer"],
    [["Alt", "L"], "Copy the link to the run"],
    [["Alt", "R"], "Ask again without the cache"],
    [["Ctrl", "/"], "Show these keys"],
  ],
  note: "On a Mac, Alt is Option (⌥) and Ctrl is Control (⌃).",
};

export const THEMES = { system: "Colours: system", light: "Colours: light", dark: "Colours: dark" };
