// Every English text of the pages Runs and Run.

export const LIST = {
  title: "Runs",
  lead: "Every question leaves one record. Newest first.",
  reading: "Reading the records…",
  older: "Older runs",
  readingOlder: "Reading…",
  end: "That is all there is.",
  columns: ["When", "Question", "Outcome", "Fast", "Slow", "Latency", "Cost"],
  caption: "Runs, newest first",
  nothingAsked: "No runs yet",
  nothingAskedHint: "Ask a question, and its run appears here: what both models said, how long each took, and whether they agreed.",
  ask: "Ask a question",
  nothingMatches: "No run matches these filters",
  nothingMatchesHint: "Remove one of them, or all.",
  clear: "Clear filters",
  failed: "The records cannot be read",
  again: "Try again",
  notKept: "text not kept",
  running: "Running",
  questionPending: "…",
  gap: "More runs came than fit on a page; the list begins anew from the newest.",
  forbidden: ["The list of runs needs the role “read”", "Your key may ask, and open single runs by their address. Ask whoever manages the keys for the role “read”."],
};

export const TAIL = {
  waiting: (inMs) => (inMs > 9000 ? `Live, every ${Math.round(inMs / 1000)} s` : "Live"),
  looking: null, // as it was
  paused: () => "Paused",
  failing: (inMs) => `Cannot read now; looks again in ${Math.max(1, Math.round(inMs / 1000))} s`,
  pause: "Pause",
  resume: "Resume",
  came: (n) => (n === 1 ? "1 new run" : `${n} new runs`),
};

export const EXPORT = { label: "Export", jsonl: "JSONL", csv: "CSV", title: (format) => `Download every run that matches as ${format}` };

export const FILTER_NAMES = {
  status: "Status",
  agreement: "Agreement",
  model: "Model",
  source: "Source",
  experiment: "Experiment",
  variant: "Variant",
  prompt_class: "Class",
  tag: "Tag",
  outcome: "A lane ended",
  min_latency_ms: "Slower than (s)",
  since: "Since",
  until: "Until",
};

export const BAR = { label: "Filters", any: "Any", more: "More filters", moreActive: (n) => `More filters (${n})`, apply: "Apply" };

export const AGREEMENTS = { agree: "Agree", disagree: "Disagree", unknown: "Undecided" };
export const SOURCES = { live: "Live", cache: "From the cache", import: "Imported" };
export const RUNNING = "Running";

export const ONE = {
  back: "All runs",
  reading: "Reading the run…",
  run: "Run",
  untitled: "The question was not kept",
  replay: "Replay",
  resume: "Go on",
  pause: "Pause",
  speed: "Speed",
  speeds: [
    ["1", "1×"],
    ["2", "2×"],
    ["4", "4×"],
    ["instant", "Instant"],
  ],
  replaying: "A replay of what was recorded. No model is asked.",
  again: "Ask again",
  stop: "Stop the run",
  record: "Record as JSON",
  following: "This run is going on now. You are following it live.",
  queued: "Other tabs of this browser are streaming five runs already, and a browser opens only six connections to one server. This run is followed as soon as one of them ends.",
  lost: (attempt) => `The connection was lost. Coming back, attempt ${attempt}…`,
  followingEnded: "The connection to this run was lost and did not come back. Try again to see how it ended.",
  tryAgain: "Try again",
  origin: "see the run it came from",
  nothingSaid: "Nothing was said.",
  waiting: "Nothing yet.",
  thinking: "Thinking",
  figures: ({ first, total, tokens, price }) => `First token ${first} · total ${total} · ${tokens} tokens out · cost ${price}`,
  conversation: (n) => (n === 1 ? "The whole question" : `The whole conversation (${n} messages)`),
  cutTexts: "some texts cut",
  thinkingSize: (n) => `${n} characters`,
  changes: "What changed",
  changesHint: "From the preliminary answer to the final one.",
  alike: (share) => `By their words they are ${share} alike.`,
  timeline: "How it went",
  timelineHint: "Every tick is a piece of text. Move along it with the arrow keys, or click.",
  axisName: "Events of the run on a time axis",
  moments: "The moments as a table",
  momentColumns: ["Time", "Lane", "What happened"],
  details: "Record",
  feedback: "Was it right?",
  feedbackHint: "Your judgement feeds the comparison of models. Press again to take it back.",
  right: "Right",
  wrong: "Wrong",
  judge: (lane) => `${lane}: right or wrong`,
  feedbackForbidden: "Only who may ask may judge; this is what was said.",
  saved: "Saved.",
  takenBack: "Taken back.",
  notKeptTitle: "The texts of this run were not kept",
  notKept: {
    hash_only: "The server keeps only a fingerprint of each text (content mode “hash_only”). Times, tokens and costs are complete.",
    none: "The server keeps no texts (content mode “none”). Times, tokens and costs are complete.",
    gone: "They were kept for a while and are gone by now. Times, tokens and costs are complete.",
  },
  eventsGone: "The events of this run are no longer kept, so it cannot be replayed. Its record is below.",
  eventsFailed: "The events of this run cannot be read now, so it cannot be replayed.",
  expiredTitle: "This run has expired",
  expired: "It was kept for a while, and neither its events nor its record are kept any more.",
  missingTitle: "There is no such run",
  missing: "It may belong to somebody else, or have been deleted when its time was over. The list shows those you may see.",
  notYetTitle: "Not stored yet",
  notYet: "The record of this run is on its way. This page looks again by itself.",
  guestTitle: "You read along",
  guest: "This run was started by somebody else’s question. You see its stream; its record belongs to whoever asked first.",
};

export const ROLES = { preliminary: "Preliminary", replaced: "Preliminary, replaced", final: "Final answer" };
export const LANE_NAMES = { fast: "Fast", slow: "Slow" };

export const FIELDS = {
  status: "Status",
  reason: "Reason",
  when: "Asked",
  source: "Source",
  policy: "Policy",
  latency: "Latency",
  tokens: "Tokens",
  cost: "Cost",
  saved: "Saved by the cache",
  agreement: "Agreement",
  audit: "Record",
  labels: "Labels",
  content: "Texts",
  fingerprint: "Fingerprint",
  run: "Run",
};

export const CONTENTS = { full: "kept, secrets masked", redacted: "kept, personal data masked", hash_only: "only as fingerprints", none: "not kept" };
export const METHOD = (method, similarity) => {
  const how = method && method !== "none" ? ` by ${method.replaceAll("_", " ")}` : "";
  return typeof similarity === "number" ? `${how}, similarity ${similarity.toFixed(2)}` : how;
};

/** What happened at a moment; words: the names of states, changes and statuses. */
export const MOMENTS = {
  start: () => "The run started",
  first_thought: () => "First thought",
  first_token: () => "First token",
  preliminary: () => "Preliminary answer complete",
  lane_end: ({ outcome, reason }, words) => `Ended: ${words.states[outcome] ?? outcome}${reason ? ` (${reason})` : ""}`,
  final: ({ change }, words) => `The final stands: ${words.changes[change]?.[0] ?? change}`,
  done: ({ status }, words) => `Done: ${words.statuses[status]?.[0] ?? status}`,
};

export const LEGEND = { tick: "piece of text", thinking: "thinking", first: "first token", preliminary: "preliminary", final: "final", done: "done" };

/** What the read-out of the axis says of one event. */
export const READOUT = {
  place: (number, count, time) => `${number} of ${count}${time === null ? "" : ` · ${time}`}`,
  delta: (lane, kind, text) => `${LANE_NAMES[lane] ?? lane}${kind === "thinking" ? " thinks" : ""}: “${text}”`,
};
