// Numbers and outcomes in plain words. What is not known is said to be unknown; it is never 0.

export const UNKNOWN = "unknown";

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

export function cost(usd) {
  if (typeof usd !== "number") return UNKNOWN;
  if (usd === 0) return "$0";
  return usd < 0.01 ? `$${usd.toFixed(6).replace(/0+$/, "")}` : `$${usd.toFixed(4)}`;
}

const count = (value) => (typeof value === "number" ? value.toLocaleString("en") : UNKNOWN);

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

export const CHANGES = {
  confirmed: ["Confirmed", "Both models give the same answer, each on its own."],
  revised: ["Revised", "The slow model came to a different answer. Its answer stands; the preliminary one does not."],
  undetermined: [
    "Undetermined",
    "Both models answered, but whether they say the same could not be decided. The slow model’s answer stands; compare the two.",
  ],
  unopposed: ["Unopposed", "Only the slow model completed an answer, so there was nothing to compare it with."],
  unverified: ["Unverified", "The fast answer stands alone: the slow model did not get to check it."],
};

/** What is said of an answer that is no run of its own, behind the verdict. */
export const ORIGINS = {
  cache: " From the cache: this is how both models answered the same question before.",
  attached: " You joined a run that was already answering this question.",
};

export const STATUSES = {
  completed: ["Completed", "The run completed."],
  partial: ["Partial", "The fast answer stands alone."],
  timeout: ["Timed out", "Neither model completed an answer in time. What they had said so far is below."],
  failed: ["Failed", "Neither model completed an answer. The lanes say why."],
  cancelled: ["Cancelled", "The run was stopped before an answer was complete."],
  shutdown: ["Shut down", "The server was stopped before an answer was complete."],
};

/** Why a lane was ended from outside, when the server adds no words of its own. */
export const REASONS = {
  accepted: "You took the fast answer.",
  superseded: "The slow answer was complete first.",
  cancelled: "The run was stopped.",
  shutdown: "The server was stopped.",
};

export const AUDIT = { durable: "stored", pending: "not yet stored" };

/** The model's lane that stands, in a word people use. */
export const laneWord = (lane) => (lane === "fast" ? "Fast" : "Slow");
