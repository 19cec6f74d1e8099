// The Ask page: joins what people do, what the stream says, and the picture of it. It stays open while other pages are.

import { byId, put } from "../dom.js";
import { findAsked } from "./again.js";
import { copyButton } from "./copying.js";
import { follow } from "./follow.js";
import { createKeep } from "./keep.js";
import { listenToKeys } from "./keys.js";
import { createOptions } from "./options.js";
import { isRunning, refreshRecent } from "./recent.js";
import { LANES, canAccept, canStop, initial, isGuest, reduce } from "./run.js";
import { answerOf, heardOf } from "./verdict.js";
import { createView } from "./view.js";
import { LOST } from "./words.js";

const TICK_MS = 200;
const PAINT_MS = 25; // the least between two paintings: every second frame of a screen that shows sixty a second
const RECORD_MS = 1000;

/** Everything that happens to the page's run goes through here. */
class Desk {
  constructor(root, app) {
    this.root = root;
    this.app = app;
    this.keep = createKeep({ caller: app.who?.caller ?? null });
    this.options = createOptions();
    this.paint = createView(root, this.options.node);
    this.state = initial();
    this.framed = false;
    this.whole = false;
    this.painted = -Infinity;
    this.run = null;
    this.leave = null; // ends the reading
    this.hurry = null; // ends the waiting for a connection
    this.calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  }

  /** Paint in one of the next frames: everything, or only the texts. */
  schedule(whole = true) {
    this.whole ||= whole;
    if (this.framed) return;
    this.framed = true;
    requestAnimationFrame((at) => this.frame(at));
  }

  frame(at) {
    this.framed = false;
    if (at - this.painted < PAINT_MS) return this.schedule(false);
    const all = this.whole;
    [this.painted, this.whole] = [at, false];
    if (this.paint(this.state, performance.now(), all)) this.schedule(false);
    return undefined;
  }

  emit(event) {
    const before = this.state;
    this.state = reduce(before, event);
    if (this.state === before) return;
    const more = event.type !== "wire" || event.name !== "delta";
    if (more) this.note(before);
    this.schedule(more || LANES.some((name) => this.state.lanes[name].state !== before.lanes[name].state));
  }

  /** What follows from a change of more than a text. */
  note(before) {
    const { state } = this;
    const heard = heardOf(before, state);
    if (heard !== "") this.app.announce(heard);
    if (state.problem?.status === 401 && before.problem === null) this.app.demand();
    if (state.start !== null && before.start === null && state.body) this.options.learn(state.start, state.body);
    if (canStop(state) && state.runId !== null) this.keep.know(state.runId, state.source);
    if (!canStop(state)) this.keep.forget();
  }

  /** Ask what is in the box. */
  ask() {
    const box = byId("question");
    const input = box.value;
    if (input.trim() === "" || canStop(this.state)) return undefined;
    box.value = "";
    byId("ask-note").hidden = true;
    return this.begin({ input, ...this.options.body() });
  }

  begin(body) {
    if (canStop(this.state)) return undefined;
    this.emit({ type: "ask", question: body.input, body });
    const idempotencyKey = this.keep.begin(body);
    return this.follow((options) => this.app.client.ask(body, { ...options, idempotencyKey }));
  }

  /** The run that was live when this tab was reloaded. */
  async recall() {
    const kept = await this.keep.recall();
    if (kept === null) return undefined;
    const { body, runId, source, token } = kept;
    this.emit({ type: "ask", question: body.input, body, resumed: true });
    if (runId === null) return this.follow((options) => this.app.client.ask(body, { ...options, idempotencyKey: token }));
    this.emit({ type: "opened", runId, source });
    return this.follow((options) => this.app.client.resume(runId, options));
  }

  async follow(start) {
    const { question } = this.state;
    const ticking = setInterval(() => this.schedule(), this.calm ? 5 * TICK_MS : TICK_MS);
    [this.run, this.leave, this.hurry] = [null, new AbortController(), new AbortController()];
    const parts = { signal: this.leave.signal, hurry: this.hurry.signal, onRun: (run) => (this.run = run) };
    try {
      await follow(start, (event) => this.emit(event), parts);
    } finally {
      clearInterval(ticking);
      if (this.state.start === null && byId("question").value === "") byId("question").value = question; // nothing typed is lost
      this.schedule();
      this.refresh();
    }
  }

  /** Read the recent runs; once more where the record has not got the end of ours yet. */
  async refresh(more = 3) {
    const runs = await refreshRecent(this.app);
    const ours = runs.find((run) => run.run_id === this.state.runId);
    if (more > 0 && ours && isRunning(ours) && !canStop(this.state)) setTimeout(() => this.refresh(more - 1), RECORD_MS);
    this.options.offer(runs.flatMap((run) => ["fast", "slow"].map((lane) => run.lanes?.[lane]?.model)));
  }

  async order(verb, unheard = () => false) {
    try {
      await this.run[verb]();
    } catch ({ status = null, code = "internal", title = "", detail = "", retryAfter = null }) {
      if (status === null && unheard()) return;
      this.emit({ type: "notice", problem: { status, code, title, detail, retryAfter } });
    }
  }

  /** Put the question of a run that was asked before into the box. */
  async again(runId) {
    history.replaceState(null, "", "#/"); // a reload begins anew
    const { text, note } = await findAsked(runId, this.app);
    const [box, said] = [byId("question"), byId("ask-note")];
    if (text !== null) box.value = text;
    said.hidden = false;
    put(said, note);
    box.focus({ preventScroll: true });
  }

  networkChanged() {
    this.schedule();
    if (canStop(this.state)) this.app.announce(navigator.onLine ? LOST.online : LOST.offline);
  }

  stop() {
    if (!canStop(this.state)) return undefined;
    const { run, state } = this;
    if (state.runId === null || run === null || isGuest(state)) return this.depart();
    return this.order("cancel", () => this.run === run && this.depart({ unheard: true }));
  }

  /** Read no further. unheard: the server could not be told. */
  depart({ unheard = false } = {}) {
    this.leave.abort();
    this.emit({ type: "stopped", at: performance.now(), unheard });
    return true;
  }

  accept() {
    return canAccept(this.state) ? this.order("accept") : undefined;
  }

  /** The same question again, as it was asked. */
  repeat(extra) {
    return this.state.body ? this.begin({ ...this.state.body, ...extra }) : undefined;
  }

  listen() {
    const onClick = (id, act) => byId(id).addEventListener("click", act);
    byId("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
    onClick("stop", () => this.stop());
    onClick("accept", () => this.accept());
    onClick("anyway", () => this.hurry.abort());
    onClick("again", () => this.repeat({}));
    onClick("fresh", () => this.repeat({ cache: "refresh" }));
    copyButton(byId("copy"), () => answerOf(this.state), this.app);
    copyButton(byId("link"), () => new URL(`#/runs/${encodeURIComponent(this.state.runId)}`, location.href).href, this.app);
    for (const example of this.root.querySelectorAll(".example")) example.addEventListener("click", () => this.begin({ input: example.textContent, ...this.options.body() }));
    listenToKeys(this.root, () => this.ask());
    for (const name of ["online", "offline"]) addEventListener(name, () => this.networkChanged());
  }
}

/** As every page has it. */
export function open(root, route, app) {
  const desk = new Desk(root, app);
  desk.listen();
  desk.schedule();
  desk.refresh();
  desk.recall();
  const update = ({ params }) => params.has("again") && desk.again(params.get("again"));
  update(route);
  if (matchMedia("(hover: hover)").matches && document.activeElement === document.body) byId("question").focus({ preventScroll: true });
  return { update, close() {} };
}
