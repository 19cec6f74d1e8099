// The circuit breakers of this instance, and holding one by hand. Whoever presses is asked once more.

import { attr, el, mark, put, replace } from "../dom.js";
import { modelName } from "../words.js";
import { toneOf } from "./shape.js";
import { BREAKERS, HEALTH } from "./words.js";

const WANTED = ["open", "closed", "auto"];

/** Asks whether that is really meant; then send(name, wanted). */
function createDialog(send) {
  const title = el("h2", { id: "breaker-title" });
  const name = el("p", null, el("code"));
  const words = el("p", { id: "breaker-words" });
  const confirm = el("button", { type: "button", class: "primary", id: "breaker-confirm" }, BREAKERS.confirm);
  const cancel = el("button", { type: "button", class: "quiet", id: "breaker-cancel", onclick: () => node.close() }, BREAKERS.cancel);
  const node = el("dialog", { id: "breaker-dialog", class: "card", "aria-labelledby": "breaker-title", "aria-describedby": "breaker-words" }, title, name, words, el("p", { class: "foot" }, confirm, cancel));
  let meant = null;
  confirm.addEventListener("click", () => {
    node.close();
    send(...meant);
  });
  return {
    node,
    ask(breaker, wanted) {
      meant = [breaker, wanted];
      put(title, BREAKERS.ask[wanted]);
      put(name.firstChild, breaker);
      put(words, `${BREAKERS.consequence[wanted]} ${BREAKERS.local}`);
      node.showModal();
      cancel.focus();
    },
  };
}

function createRow(name, press) {
  const dot = el("span", { class: "dot", "aria-hidden": "true" });
  const state = el("span");
  const buttons = WANTED.map((wanted) => el("button", { type: "button", class: "quiet small", value: wanted, onclick: () => press(name, wanted) }, BREAKERS.wanted[wanted]));
  const held = el("td");
  const node = el("tr", { dataset: { breaker: name } }, el("th", { scope: "row" }, el("code", { title: name }, modelName(name))), el("td", { class: "health-state" }, dot, state), held);
  const hands = el("div", { class: "health-hands", role: "group", "aria-label": name }, buttons);
  const never = el("span", { class: "soft", hidden: true }, BREAKERS.never);
  held.append(hands, never);
  return {
    node,
    show(now) {
      mark(node, "tone", now.state === "half_open" ? "wait" : toneOf(now.state));
      mark(node, "state", now.state);
      put(state, BREAKERS.states[now.state] ?? now.state);
      for (const button of buttons) attr(button, "aria-pressed", button.value === now.held);
      hands.hidden = now.held === null;
      never.hidden = now.held !== null;
    },
  };
}

/** A table of breakers: its node, and show(data of /api/breakers). look() is called when one was set. */
export function createBreakers(app, look) {
  const body = el("tbody", { id: "breaker-rows" });
  const heads = BREAKERS.columns.map((word) => el("th", { scope: "col" }, word));
  const said = el("p", { id: "breaker-said", class: "soft", role: "status" });
  const instance = el("p", { class: "soft health-note" });
  const dialog = createDialog(send);
  const rows = new Map();

  async function send(name, wanted) {
    try {
      await app.api.send("PUT", `/api/breakers/${encodeURIComponent(name)}`, { state: wanted });
      put(said, `${modelName(name)}: ${BREAKERS.done[wanted]}`);
    } catch (problem) {
      put(said, `${modelName(name)}: ${problem.detail || problem.title}`);
    }
    look();
  }

  function rowOf(name) {
    if (!rows.has(name)) {
      rows.set(name, createRow(name, dialog.ask));
      body.append(rows.get(name).node);
    }
    return rows.get(name);
  }

  return {
    node: el("div", null, el("div", { class: "scroll" }, el("table", null, el("thead", { id: "breaker-heads" }, el("tr", null, heads)), body)), said, instance, dialog.node),
    show({ breakers, instance: name }) {
      for (const [breaker, now] of Object.entries(breakers)) rowOf(breaker).show(now);
      for (const [known, { node }] of rows) {
        if (known in breakers) continue;
        node.remove();
        rows.delete(known);
      }
      put(instance, [BREAKERS.meaning, rows.size === 0 ? BREAKERS.none : "", HEALTH.instance(name)].filter(Boolean).join(" "));
    },
  };
}
