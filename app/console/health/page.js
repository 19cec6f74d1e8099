// The page Health: what this instance says of itself, looked at again every few seconds while somebody sees it.
//
// What a test may hold on to:
//   #health[data-state]             reading, shown, refused; #health-tail[data-phase], #health-pause
//   section[data-panel=glance|parts|breakers|ledger|limits|numbers][data-state=shown|lacking|failed]
//   [data-value=status|runs|streams|stuck|queue|lag|oldest|spool|...] dd
//   #part-rows tr[data-part][data-tone], [data-ledger=accepted|stored|...] b, #ledger-balance[data-tone]
//   #breaker-rows tr[data-breaker][data-state] button[value=open|closed|auto][aria-pressed], #breaker-said
//   #breaker-dialog, #breaker-confirm, #breaker-cancel
//   #limit-rows tr[data-limit][data-scope], #health-span button[value=5m|1h|24h], #time-rows, #route-rows [data-p]

import { el, mark, put, replace } from "../dom.js";
import { paceOf } from "../runs/pace.js";
import { createPoll } from "../runs/poll.js";
import { problemPanel } from "../shell.js";
import { createBreakers } from "./breakers.js";
import { createNumbers } from "./numbers.js";
import { glance, ledger, limits, parts } from "./panels.js";
import { planOf, readAll } from "./read.js";
import { HEALTH, TITLES } from "./words.js";

const EVERY_MS = 5000;

/** A panel that shows what it is given, or says why it cannot. */
function createPanel(name) {
  const body = el("div", { class: "health-body" });
  const node = el("section", { class: "card", dataset: { panel: name }, "aria-labelledby": `health-${name}` }, el("h2", { id: `health-${name}` }, TITLES[name]), body);
  return {
    node,
    /** found: {data}, {lacks} or {problem}; make(data) gives the nodes, the same ones again if it likes. */
    show(found, make) {
      const kind = found.data ? "shown" : found.lacks ? "lacking" : "failed";
      mark(node, "state", kind);
      if (kind === "shown") {
        const made = make(found.data);
        if (body.firstChild !== made) replace(body, made);
      } else if (kind === "lacking") replace(body, el("p", { class: "soft" }, HEALTH.needs(found.lacks)));
      else replace(body, el("p", null, `${HEALTH.unreadable}: ${found.problem.detail || found.problem.title || found.problem.message}`));
    },
  };
}

function createTail(toggle) {
  const text = el("span");
  const button = el("button", { type: "button", class: "quiet small", id: "health-pause", onclick: toggle }, HEALTH.pause);
  return {
    node: el("div", { id: "health-tail", role: "group" }, el("span", { class: "dot", "aria-hidden": "true" }), text, button),
    told({ phase, inMs }) {
      mark(this.node, "phase", phase);
      const words = { waiting: HEALTH.live, failing: HEALTH.failing, paused: () => HEALTH.paused }[phase];
      if (words) put(text, words(inMs));
      put(button, phase === "paused" ? HEALTH.resume : HEALTH.pause);
    },
  };
}

/** Open the page in `root`. */
export function open(root, route, app) {
  const plan = planOf(app.who?.rights);
  const panels = Object.fromEntries(Object.keys(TITLES).map((name) => [name, createPanel(name)]));
  const numbers = createNumbers();
  const breakers = createBreakers(app, () => poll.start());
  const tail = createTail(() => (poll.paused ? poll.resume() : poll.pause()));
  const state = el("div", { role: "status" }, el("p", { class: "loading" }, HEALTH.reading));
  const grid = el("div", { class: "health-grid", hidden: true }, Object.values(panels).map(({ node }) => node));
  const page = el("div", { id: "health", dataset: { state: "reading" } }, el("div", { class: "health-head" }, el("h1", null, HEALTH.title), tail.node), state, grid);
  const again = (node, show) => (data) => {
    show(data);
    return node;
  };

  /** The ledger is of everybody who may read; the rest of what /health/ready says is not there for others. */
  const recordOf = (health) => (health.data && health.data.record === undefined ? { lacks: "read" } : health);
  const checksOf = (health) => (health.data && health.data.checks === undefined && health.data.parts === undefined ? { lacks: "read" } : health);

  function show(found) {
    const metrics = found.metrics.data;
    panels.glance.show(found.health, (health) => glance(health, metrics));
    panels.parts.show(checksOf(found.health), (health) => [parts(health), health.parts ? null : el("p", { class: "soft health-note" }, HEALTH.needsMore)]);
    panels.ledger.show(recordOf(found.health), (health) => ledger(health, metrics));
    panels.limits.show(found.limits, limits);
    panels.breakers.show(found.breakers, again(breakers.node, breakers.show));
    panels.numbers.show(found.metrics, again(numbers.node, numbers.show));
    const requests = Object.values(plan).filter(({ path }) => path).length;
    poll.setPace(paceOf(found.limits.data?.limits ?? [], { everyMs: EVERY_MS, requests }));
  }

  async function look(signal) {
    const found = await readAll(app.api, plan, signal);
    show(found);
    grid.hidden = false;
    mark(page, "state", "shown");
    if (state.hasChildNodes()) replace(state);
  }

  /** Nothing was ever shown: say why instead. */
  function told(now) {
    tail.told(now);
    if (now.phase !== "failing" || !grid.hidden) return;
    mark(page, "state", "refused");
    replace(state, problemPanel({ title: HEALTH.failed, detail: now.error.detail || now.error.message, code: now.error.code }, () => poll.start()));
  }

  const poll = createPoll({ look, told, everyMs: EVERY_MS });
  replace(root, page);
  poll.start();
  return { update() {}, close: poll.close };
}
