// The words that differ between two texts, as [{kind: "same" | "gone" | "came", text}]. Pure, and bounded in time and memory.

const WORDS = /\s+|[\p{L}\p{M}\p{N}_]+|[^\s\p{L}\p{M}\p{N}_]/gu;
const EDITS_MAX = 600; // texts that differ in more words are shown as one that went and one that came
const ISLAND_WORDS = 2; // so few equal words between two changes help nobody

const wordsOf = (text) => text.match(WORDS) ?? [];

/** Whether the k-th diagonal is reached by a word that came (down), and not by one that went. */
const downFrom = (reached, edits, k) => k === -edits || (k !== edits && reached[k - 1 + edits + 1] < reached[k + 1 + edits + 1]);

/** How far each diagonal has come before every number of edits, until both texts are used up (Myers 1986); null beyond the bound. */
function traceOf(a, b) {
  const trace = [];
  let before = new Int32Array(3).fill(-1); // diagonals -1, 0, 1
  before[2] = 0;
  for (let edits = 0; edits <= Math.min(EDITS_MAX, a.length + b.length); edits += 1) {
    trace.push(before);
    const next = new Int32Array(2 * edits + 5).fill(-1); // diagonals -edits-2 .. edits+2
    for (let k = -edits; k <= edits; k += 2) {
      let x = downFrom(before, edits, k) ? before[k + 1 + edits + 1] : before[k - 1 + edits + 1] + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x += 1;
      next[k + edits + 2] = x;
      if (x >= a.length && x - k >= b.length) return trace;
    }
    before = next;
  }
  return null;
}

/** The steps from one text to the other, in order: pairs of kind and word. */
function walkBack(a, b, trace) {
  const steps = [];
  let [x, y] = [a.length, b.length];
  for (let edits = trace.length - 1; edits >= 0; edits -= 1) {
    const k = x - y;
    const down = downFrom(trace[edits], edits, k);
    const before = down ? k + 1 : k - 1;
    const fromX = trace[edits][before + edits + 1];
    while (x > 0 && y > 0 && x > (down ? fromX : fromX + 1)) {
      steps.push(["same", a[x - 1]]);
      [x, y] = [x - 1, y - 1];
    }
    if (edits > 0) steps.push(down ? ["came", b[(y -= 1)]] : ["gone", a[(x -= 1)]]);
  }
  return steps.reverse();
}

function middle(a, b) {
  const trace = traceOf(a, b);
  if (trace !== null) return walkBack(a, b, trace);
  return [...a.map((word) => ["gone", word]), ...b.map((word) => ["came", word])];
}

const isWord = (word) => /[\p{L}\p{N}]/u.test(word);

/** Runs of steps: {same: words} or {gone: words, came: words}, islands of a few equal words between changes made part of them. */
function runsOf(steps) {
  const runs = [];
  for (const [kind, word] of steps) {
    const same = kind === "same";
    if (runs.at(-1)?.same !== same) runs.push({ same, gone: [], came: [] });
    const run = runs.at(-1);
    if (kind !== "came") run.gone.push(word);
    if (kind !== "gone") run.came.push(word);
  }
  return runs.reduce((out, run, i) => {
    const island = run.same && i > 0 && i < runs.length - 1 && run.gone.filter(isWord).length <= ISLAND_WORDS;
    const last = out.at(-1);
    if (last && !last.same && (island || !run.same)) {
      for (const word of run.gone) last.gone.push(word); // spread, so many would be too many arguments
      for (const word of run.came) last.came.push(word);
    } else out.push({ same: run.same, gone: [...run.gone], came: [...run.came] });
    return out;
  }, []);
}

/** What has to go from one text and come to it to make it the other. */
export function wordDiff(before, after) {
  const [a, b] = [wordsOf(before), wordsOf(after)];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let foot = 0;
  while (foot < a.length - head && foot < b.length - head && a[a.length - 1 - foot] === b[b.length - 1 - foot]) foot += 1;
  const steps = [
    ...a.slice(0, head).map((word) => ["same", word]),
    ...middle(a.slice(head, a.length - foot), b.slice(head, b.length - foot)),
    ...a.slice(a.length - foot).map((word) => ["same", word]),
  ];
  const parts = runsOf(steps).flatMap(({ same, gone, came }) =>
    same ? [{ kind: "same", text: gone.join("") }] : [{ kind: "gone", text: gone.join("") }, { kind: "came", text: came.join("") }],
  );
  return parts.filter(({ text }) => text !== "");
}

/** How many words went, came and stayed. */
export function tallyOf(parts) {
  const tally = { same: 0, gone: 0, came: 0 };
  for (const { kind, text } of parts) tally[kind] += wordsOf(text).filter(isWord).length;
  return tally;
}
