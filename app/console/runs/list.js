// The page Runs: filters, rows, a live tail, older pages, downloads.

import { questionOf } from "../ask/again.js";
import { el, mark, put, replace } from "../dom.js";
import { may } from "../session.js";
import { problemPanel } from "../shell.js";
import { createBar } from "./bar.js";
import { exportPath, hashOf, readFilters, readLimit } from "./filters.js";
import { append, merge } from "./merge.js";
import { paceOf } from "./pace.js";
import { createPoll } from "./poll.js";
import { createTable } from "./table.js";
import { EXPORT, LIST, TAIL } from "./words.js";

const PATH = "/api/experiments";
const EVERY_MS = 4000;

function empty(kind, filters, limit) {
  if (kind === "none-match") {
    return el("div", { class: "empty" }, el("h2", null, LIST.nothingMatches), el("p", null, LIST.nothingMatchesHint), el("p", null, el("a", { href: hashOf({}, limit) }, LIST.clear)));
  }
  return el("div", { class: "empty" }, el("h2", null, LIST.nothingAsked), el("p", null, LIST.nothingAskedHint), el("p", null, el("a", { href: "#/" }, LIST.ask)));
}

/** The bar of the tail: whether it looks, and a button that stops it. */
function createTailBar(toggle) {
  const text = el("span", { id: "runs-tail-text" });
  const button = el("button", { type: "button", class: "quiet small", id: "runs-pause", onclick: toggle }, TAIL.pause);
  const node = el("div", { id: "runs-tail", role: "group" }, el("span", { class: "dot", "aria-hidden": "true" }), text, button);
  const told = ({ phase, inMs }) => {
    mark(node, "phase", phase);
    if (TAIL[phase]) put(text, TAIL[phase](inMs));
    put(button, phase === "paused" ? TAIL.resume : TAIL.pause);
  };
  return { node, told };
}

/** Open the list in `root`. */
export function openList(root, route, app) {
  const bar = createBar((hash) => app.go(hash));
  const table = createTable((hash) => app.go(hash));
  const tail = createTailBar(() => (poll.paused ? poll.resume() : poll.pause()));
  const poll = createPoll({ look, told: tail.told, everyMs: EVERY_MS });
  const links = ["jsonl", "csv"].map((format) => el("a", { dataset: { export: format }, download: "", title: EXPORT.title(EXPORT[format]) }, EXPORT[format]));
  const state = el("div", { class: "runs-state", role: "status" });
  const older = el("button", { type: "button", class: "quiet", id: "runs-older", hidden: true, onclick: readOlder }, LIST.older);
  const end = el("p", { id: "runs-end", class: "soft", hidden: true }, LIST.end);
  const tools = el("div", { class: "runs-tools" }, tail.node, el("p", { class: "runs-export" }, EXPORT.label, links));
  replace(root, el("h1", null, LIST.title), el("p", { class: "soft" }, LIST.lead), bar.node, tools, state, table.node, el("div", { class: "runs-foot" }, older, end));

  let filters = {};
  let limit = 0;
  let shown = null; // the address that the rows belong to
  let runs = [];
  let cursor = null;
  let wanted = 0; // rows behind the first page that were asked for
  let aborter = null;
  const questions = new Map(); // by run: the text, or null where it was not kept

  function display(kind, ...parts) {
    mark(root, "state", kind);
    replace(state, parts);
    const rows = kind === "rows";
    table.node.hidden = !rows;
    older.hidden = !rows || cursor === null;
    end.hidden = !rows || cursor !== null;
    tools.hidden = kind === "forbidden" || kind === "refused";
  }

  function showRows(fresh = []) {
    table.show(runs, questions, fresh);
    bar.offer([...new Set(runs.flatMap(({ lanes }) => Object.values(lanes ?? {}).map(({ model }) => model)))].sort());
    const kind = runs.length > 0 ? "rows" : Object.keys(filters).length > 0 ? "none-match" : "nothing";
    display(kind, kind === "rows" ? null : empty(kind, filters, limit));
  }

  const read = (signal, params) => app.api.getJSON(PATH, { signal, params: { ...filters, ...params } });

  /** What was asked in the newest of the rows that are without it; a second request, since it carries whole texts. */
  async function readQuestions(signal, page, from) {
    const lacking = page.findLastIndex(({ run_id }) => !questions.has(run_id)) + 1;
    if (lacking === 0) return;
    const { experiments } = await read(signal, { limit: lacking, cursor: from, fields: "run_id,content", payload: "true" });
    for (const found of experiments) questions.set(found.run_id, questionOf(found, found.payload));
    table.show(runs, questions);
  }

  async function readFirst() {
    aborter?.abort();
    poll.rest();
    const { signal } = (aborter = new AbortController());
    [runs, cursor, wanted] = [[], null, 0];
    display("reading", el("p", { class: "loading" }, LIST.reading));
    if (!may(app.who, "read")) return forbidden();
    try {
      const page = await read(signal, { limit });
      [runs, cursor] = [page.experiments, page.next_cursor];
      showRows();
      poll.begin();
      await readQuestions(signal, runs, null);
    } catch (error) {
      if (!signal.aborted) refused(error);
    }
    return undefined;
  }

  function forbidden() {
    const [title, hint] = LIST.forbidden;
    display("forbidden", el("div", { class: "empty" }, el("h2", null, title), el("p", null, hint)));
  }

  function refused(error) {
    if (error.status === 403) return forbidden();
    display("refused", problemPanel({ title: LIST.failed, detail: error.detail || error.message, code: error.code }, readFirst));
    if (Object.keys(filters).length > 0) state.append(el("p", null, el("a", { href: hashOf({}, limit) }, LIST.clear)));
    return undefined;
  }

  /** What is new since, and what has changed. */
  async function look(signal) {
    const page = await read(signal, { limit });
    const merged = merge(runs, page.experiments, page.next_cursor !== null, wanted);
    if (merged.gap) wanted = 0;
    if (merged.gap || runs.length === 0 || page.next_cursor === null) cursor = page.next_cursor;
    runs = merged.rows;
    showRows(merged.fresh);
    if (merged.fresh.length > 0) app.announce(merged.gap ? LIST.gap : TAIL.came(merged.fresh.length));
    await readQuestions(signal, page.experiments, null);
  }

  async function readOlder() {
    const { signal } = aborter;
    const [from, first] = [cursor, runs.length];
    older.disabled = true;
    put(older, LIST.readingOlder);
    try {
      const page = await read(signal, { limit, cursor: from });
      if (cursor !== from) return; // the list began anew meanwhile
      [runs, cursor] = [append(runs, page.experiments), page.next_cursor];
      wanted += page.experiments.length;
      showRows();
      table.focus(runs[first]?.run_id);
      await readQuestions(signal, page.experiments, from);
    } catch (error) {
      if (!signal.aborted) replace(state, problemPanel({ title: LIST.failed, detail: error.detail, code: error.code }, readOlder));
    } finally {
      older.disabled = false;
      put(older, LIST.older);
    }
  }

  function update(next) {
    [filters, limit] = [readFilters(next.params), readLimit(next.params)];
    const address = hashOf(filters, limit);
    bar.show(filters, limit);
    for (const link of links) link.href = exportPath(filters, link.dataset.export);
    if (shown === address) return poll.start();
    shown = address;
    return readFirst();
  }

  /** Who may not ask as often as they like is not to find that this page has asked instead of them. */
  async function keepPace() {
    if (app.who?.auth === "off" || !may(app.who, "read")) return;
    const { limits } = await app.api.getJSON("/v1/limits").catch(() => ({ limits: [] }));
    poll.setPace(paceOf(limits, { everyMs: EVERY_MS, requests: 2 }));
  }

  tail.told({ phase: "waiting", inMs: 0 });
  keepPace();
  update(route);
  return {
    update,
    rest: poll.rest,
    focus: table.focus,
    close() {
      aborter?.abort();
      poll.close();
    },
  };
}
