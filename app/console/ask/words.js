// The English of the Ask page. Outcomes and numbers are in ../words.js, which every page shares.

export const EXAMPLES = [
  "What is the capital of France?",
  "A bat and a ball cost $1.10 together. The bat costs one dollar more than the ball. What does the ball cost?",
  "Is 91 a prime number? Answer yes or no.",
];

export const ASK = {
  title: "Ask two models at once",
  question: "Your question",
  hint: [["Enter"], " asks, ", ["Shift", "Enter"], " starts a new line"],
  send: "Ask",
  stop: "Stop",
  leave: "Leave",
  examples: "Try one of these",
  pitch:
    "Two models start at the same moment. The fast one gives a preliminary answer; the slow one, which does not see it, gives the final one. When it stands, the page tells whether the two agree.",
  accept: "Take this answer",
  acceptHint: "Stops the slow model; the answer stays unverified.",
  fresh: "Ask again without the cache",
  again: "Ask again",
  copy: "Copy the answer",
  link: "Copy the link",
  copied: "Copied",
  notCopied: "The browser did not let the page copy.",
  changes: "Show what changed",
  hideChanges: "Hide what changed",
  recent: "Recent runs",
  all: "All runs",
  running: "Running",
  none: "No runs yet. Each question you ask leaves one record here.",
  unread: "The record cannot be read now. Questions can still be asked.",
  forbidden: "Your key may ask, and may not read the record; the link of a run shows you your own.",
};

export const LANE = {
  elapsed: "Elapsed",
  latency: "Latency",
  first: "First token",
  tokens: "Tokens out",
  cost: "Cost",
  thinking: "Thinking",
  thoughts: "Thoughts",
  size: (length) => `${length.toLocaleString("en")} characters`,
  answer: (lane) => `${lane} answer`,
  waiting: "Waiting for the first token",
  noText: "No text",
  none: "none",
  stopped: "Stopped",
  final: "Final answer",
  unverified: "Final answer, unverified",
  preliminary: "Preliminary",
  replaced: "Preliminary, replaced",
};

export const DONE = { status: "Status", latency: "Latency", tokens: "Tokens", cost: "Cost", source: "Source", audit: "Record", run: "Run", slow: "slow" };

export const TABLE = { when: "When", outcome: "Outcome", fast: "Fast", slow: "Slow", latency: "Latency", cost: "Cost" };

/** Of a question that is asked again from the record of a run. */
export const AGAIN = {
  ready: "The question of that run. Enter asks it with what is chosen under Options.",
  lastOf: (n) => `It is the last of ${n} messages; those before it are not sent.`,
  redacted: "What the server recognised as personal was replaced before it was stored.",
  cut: "It was too long to be stored whole.",
  notKept: "The texts of that run were not kept, so its question is not known. Type it anew.",
  missing: "There is no record of that run that you may read.",
  unread: (title) => `The record of that run cannot be read now: ${title}.`,
};

/** What is said while there is neither a final nor `done`: a word, and a sentence. */
export const PHASES = {
  asking: ["Asking", ""],
  resumed: ["Coming back", "This page was reloaded. It returns to the run that it had begun."],
  live: ["Working", "Both models are on it; the first answer will be preliminary."],
  alone: ["Working", "The fast model has ended without an answer. The slow model is still working."],
  unchecked: ["Working", "The slow model has ended without an answer. The fast model is still working."],
  preliminary: ["Preliminary", "The fast answer is here. The slow model is still working on its own."],
  late: [
    "No answer yet",
    "The server has not answered for some seconds. It may be busy, or this browser may have used up its connections: it opens six to one server over all tabs. Wait, stop, or close a tab in which a run is live.",
  ],
  queued: [
    "Waiting for a connection",
    "Other tabs of this browser are streaming five runs already, and a browser opens only six connections to one server. The question is sent as soon as one of them ends.",
  ],
  left: ["Left", "The run goes on for those who read it."],
  stopped: ["Stopped", "You stopped before the server had begun."],
  unheard: ["Left", "The server could not be told to stop. It ends a run that nobody comes back to by itself; the record tells how."],
  away: ["Over", "The run ended while you were away; its record tells how."],
  ended: ["Over", "The run ended."],
};

export const anyway = "Ask now all the same";

export const LOST = {
  word: "Connection lost",
  text: (attempt, seconds) =>
    seconds > 0 ? `Coming back to the same run: attempt ${attempt} in ${seconds} s.` : `Coming back to the same run: attempt ${attempt}.`,
  online: "This device is online again.",
  offline: "This device is offline. The page returns to the same run when the network does; the server waits for it a while.",
};

/** What to do about a refusal, by its code; said behind what the server says. */
export const ADVICE = {
  unreachable: "Is the server running? Start it with “make run” and ask again.",
  connection_lost: "Runs, above, has its record.",
  rate_limited: "You have asked as often as you may in this time.",
  budget_exceeded: "What you may spend in this time is spent; whoever runs the server can raise it.",
  too_many_streams: "Close a tab in which a run is live, or wait for its end.",
  too_many_runs: "The server runs as many questions as it can.",
  overloaded: "The server has more to do than it can.",
  queue_full: "The server runs as many questions as it can.",
  queue_timeout: "The server runs as many questions as it can.",
  shutting_down: "The server is being restarted.",
  audit_full: "The disk or the database for the record must be looked after; Health, above, says which.",
  unknown_model: "Choose another model under Options.",
  invalid_request: "Look at what is chosen under Options.",
  forbidden: "Your key lacks the role “ask”.",
};

export const tryAgain = (seconds) => `Try again in ${Math.ceil(seconds)} s.`;

export const OPTIONS = {
  summary: "Options",
  changed: (n) => `Options, ${n} chosen`,
  fast: "Fast model",
  slow: "Slow model",
  policy: "Policy",
  fastTimeout: "Fast model’s time, in seconds",
  slowTimeout: "Slow model’s time, in seconds",
  deadline: "Whole run’s time, in seconds",
  cache: "Cache",
  reset: "Back to the server’s defaults",
  default: "the server’s default",
  defaultIs: (value) => `default: ${value}`,
  kept: "Remembered in this browser.",
};

export const POLICIES = { race: "Race: both at once, the slow one blind to the fast" };

export const CACHES = {
  use: "Use a stored answer, if there is one",
  refresh: "Ask anew, and store the answer",
  off: "Neither look nor store",
};

export const CHANGE = {
  title: "What changed",
  legend: "The preliminary answer against the final one. Struck out: gone. Underlined: new.",
  tally: ({ gone, came, same }) => `${gone} words gone, ${came} new, ${same} the same.`,
  apart: "The two have little in common word for word; read them side by side.",
  gone: "gone",
  came: "new",
};

export const RACE = {
  title: "The race",
  waiting: "waiting",
  first: "first token",
  end: "end",
  preliminary: "preliminary",
  final: "final",
  limit: { fast: "fast model’s limit", slow: "slow model’s limit" },
  deadline: "deadline",
  at: (what, time) => `${what} ${time}`,
  after: (what, time) => `${what} after ${time}`,
  lane: (lane, facts) => `${lane}: ${facts.join(", ")}.`,
  running: "still running",
  cached: "Times are those of the run that was stored.",
};

export const MARKDOWN = {
  image: (alt) => (alt ? `image: ${alt}` : "image"),
  code: (lang) => (lang ? `Code, ${lang}` : "Code"),
  table: "Table",
};
