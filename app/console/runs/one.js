// The page of one run: its record, both answers, and its events; a run that is going on is followed live.

import { takeSlot } from "../ask/slots.js";
import { el, mark, put, replace } from "../dom.js";
import { may } from "../session.js";
import { problemPanel } from "../shell.js";
import { createFeedback } from "./feedback.js";
import { apply, fold, fromRecord, initial, LANES } from "./fold.js";
import { changesOf, conversation, outcomeLine, recordFields, titleOf } from "./head.js";
import { createLanes } from "./lanes.js";
import { timed } from "./marks.js";
import { createReplay } from "./replay.js";
import { ONE } from "./words.js";

const NOT_YET_S = 2;
const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const keeps = (record) => ["full", "redacted"].includes(record.content?.mode ?? "full") && record.payload !== null;

/** Open the run of this id in `root`. */
export function openOne(root, id, app) {
  const aborter = new AbortController();
  const { signal } = aborter;
  const lanes = createLanes();
  const body = el("div", { class: "one-body" });
  const address = encodeURIComponent(id);
  let replay = null;
  let timer = null;
  let framed = null;

  function display(kind, ...parts) {
    mark(root, "state", kind);
    replay?.close();
    replay = null;
    replace(body, parts);
  }

  const again = () => {
    delete root.dataset.live;
    return load();
  };

  /** The record, with what was said about it where whoever asks may read that. */
  const readRecord = () => app.api.getJSON(may(app.who, "read") ? `/api/experiments/${address}` : `/v1/runs/${address}`, { signal });

  /** Every event of the run, one by one as it comes; resolves behind `done`. */
  const readEvents = (onEvent, onState) => app.client.resume(id, { signal, onEvent, onState }).finished;

  /** The same of a run that goes on: it holds one of the places that the browser has for streams, and waits for one. */
  async function followEvents(onEvent, { onState, onWait }) {
    const release = await takeSlot({ signal, onWait });
    try {
      return await readEvents(onEvent, onState);
    } finally {
      release?.();
    }
  }

  async function load() {
    display("reading", el("h1", { class: "soft" }, ONE.reading));
    try {
      const record = await readRecord();
      await (record.status === "running" ? follow(record) : present(record));
    } catch (error) {
      if (!signal.aborted) await refused(error);
    }
  }

  async function refused(error) {
    if (error.code === "run_not_live") return notYet(error);
    if (error.status === 410) return display("expired", heading(null), problemPanel({ title: ONE.expiredTitle, detail: ONE.expired, code: error.code }));
    if (error.status === 404) return alongside();
    return display("refused", heading(null), problemPanel({ title: error.title ?? error.message, detail: error.detail, code: error.code }, again));
  }

  function notYet(error) {
    display("not-yet", el("div", { class: "empty", role: "status" }, el("h1", null, ONE.notYetTitle), el("p", null, ONE.notYet)));
    timer = setTimeout(load, (error.retryAfter ?? NOT_YET_S) * 1000);
  }

  const missing = () => display("missing", el("div", { class: "empty" }, el("h1", null, ONE.missingTitle), el("p", null, ONE.missing), el("p", { class: "code" }, el("code", null, id))));

  /** Somebody else's record; its stream may be read by those whose question was the same. */
  async function alongside() {
    const state = initial();
    const note = el("p", { id: "one-note", class: "soft", role: "status" }, ONE.guest);
    const shown = () => root.dataset.state === "guest";
    try {
      const queued = () => display("queued", el("h1", null, ONE.guestTitle), el("p", { class: "panel", role: "status" }, ONE.queued));
      const onEvent = (event) => {
        apply(state, event);
        if (!shown()) display("guest", el("h1", null, ONE.guestTitle), note, lanes.node);
        schedule(state);
      };
      await followEvents(onEvent, { onWait: queued });
    } catch (error) {
      if (signal.aborted) return undefined;
      if (shown()) return cutOff(note);
      return error.status === 404 ? missing() : refused(error);
    }
    return undefined;
  }

  const cutOff = (note) => replace(note, ONE.followingEnded, " ", el("button", { type: "button", class: "quiet small", onclick: again }, ONE.tryAgain));

  function schedule(state) {
    framed ??= requestAnimationFrame(() => {
      framed = null;
      lanes.show(state);
    });
  }

  const heading = (record) => {
    if (record === null) return el("h1", null, `${ONE.run} ${id}`);
    const { text, kept } = titleOf(record);
    return el("h1", { id: "one-question", class: kept ? null : "soft", dir: "auto" }, text);
  };

  const actions = (...more) =>
    el(
      "p",
      { class: "one-actions" },
      more,
      may(app.who, "ask") ? el("a", { class: "quiet as-button", id: "one-again", href: `#/?again=${address}` }, ONE.again) : null,
      el("a", { class: "quiet as-button", id: "one-record", href: `/v1/runs/${address}` }, ONE.record),
    );

  /** A run that goes on: its stream from the beginning, then its record as it is then. */
  async function follow(record) {
    const state = initial(Object.fromEntries(LANES.map((name) => [name, record.lanes?.[name]?.model])));
    const note = el("p", { id: "one-note", class: "panel", role: "status" }, ONE.following);
    const stop = el("button", { type: "button", class: "quiet small", id: "one-stop", onclick: halt }, ONE.stop);
    display("record", heading(record), outcomeLine(record), actions(may(app.who, "ask") ? stop : null), note, conversation(record), lanes.node, details(record));
    root.dataset.live = "";
    lanes.show(state);
    function halt() {
      stop.disabled = true;
      app.client.cancel(id).catch((problem) => {
        stop.disabled = false;
        put(note, problem.detail || problem.title);
      });
    }
    const onState = ({ phase, attempt }) => put(note, phase === "lost" ? ONE.lost(attempt) : ONE.following);
    try {
      await followEvents((event) => schedule(apply(state, event)), { onState, onWait: () => put(note, ONE.queued) });
    } catch {
      if (!signal.aborted) cutOff(note);
      return;
    }
    delete root.dataset.live;
    await settled();
  }

  /** The record says how it ended a moment after the stream did. */
  async function settled() {
    const record = await readRecord();
    if (record.status !== "running") return present(record);
    return notYet({});
  }

  const details = (record) => el("section", { class: "card" }, el("h2", null, ONE.details), recordFields(record));

  function noteOf(record, problem) {
    const mode = record.content?.mode ?? "full";
    const words = record.payload === null ? ONE.notKept.gone : ONE.notKept[mode];
    if (words) return el("div", { id: "one-note", class: "panel" }, el("h2", null, ONE.notKeptTitle), el("p", null, words));
    if (problem === null) return null;
    return el("p", { id: "one-note", class: "panel" }, problem.status === 410 ? ONE.eventsGone : ONE.eventsFailed);
  }

  /** While a part of the run is shown, the lanes stay as high as they are: nothing below them moves. */
  const holding = (paint) => (state) => {
    const { style, offsetHeight } = lanes.node;
    if (state.done !== null) style.minHeight = "";
    else if (style.minHeight === "") style.minHeight = `${offsetHeight}px`;
    paint(state);
  };

  /** A run that has ended. */
  async function present(record) {
    const events = [];
    const problem = keeps(record) ? await readEvents((event) => events.push(event)).then(() => null, (error) => error) : null;
    if (signal.aborted) return;
    const whole = problem === null && events[0]?.name === "start";
    const times = record.payload?.at_ms;
    const kept = keeps(record);
    const cut = LANES.filter((name) => record.lanes?.[name]?.finish_reason === "length");
    const paint = (state) => lanes.show(state, { kept, cut });
    const place = el("div");
    const lack = whole || !kept ? problem : (problem ?? { status: 410 });
    display(
      "record", heading(record), outcomeLine(record), actions(), noteOf(record, lack), conversation(record), lanes.node, place, changesOf(record),
      createFeedback(record, app, { may: may(app.who, "ask") }), details(record),
    );
    mark(root, "run", record.run_id);
    paint(whole ? fold(events, events.length) : fromRecord(kept ? record : { ...record, payload: null }));
    const all = whole ? timed(events, times) : [];
    if (all.length === 0 || all[0].at === null) return;
    replay = createReplay(all, holding(paint), { calm: calm() });
    place.append(replay.node);
  }

  replace(root, el("p", { class: "one-back" }, el("a", { href: "#/runs" }, `← ${ONE.back}`)), body);
  load();
  return {
    id,
    close() {
      aborter.abort();
      clearTimeout(timer);
      if (framed !== null) cancelAnimationFrame(framed);
      replay?.close();
      replace(root);
    },
  };
}
