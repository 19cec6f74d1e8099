// The rows on the page: new ones come on top without moving what is read.

import { el } from "../dom.js";
import { createRow } from "./rows.js";
import { LIST } from "./words.js";

const CLASSES = ["", "", "", "lane-col", "lane-col", "number", "number"];

/** The row that must stay where it is: the focused one, the one under the pointer, else the first seen when the top is not. */
function anchorOf(body) {
  const kept = body.querySelector("tr:focus-within") ?? body.querySelector("tr:hover");
  if (kept) return kept;
  const rows = [...body.rows];
  return rows.length > 0 && rows[0].getBoundingClientRect().top < 0 ? rows.find((row) => row.getBoundingClientRect().top >= 0) : null;
}

function steady(body, change) {
  const anchor = anchorOf(body);
  const before = anchor?.getBoundingClientRect().top;
  change();
  if (anchor?.isConnected) scrollBy({ top: anchor.getBoundingClientRect().top - before, behavior: "instant" });
}

function arrows(event) {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const next = step && event.target.closest("tr")?.[step]?.querySelector("a");
  if (!next) return;
  event.preventDefault();
  next.focus();
}

/** A table of runs. go(hash) opens one. */
export function createTable(go) {
  const body = el("tbody", { id: "runs-rows", onkeydown: arrows });
  const heads = LIST.columns.map((word, i) => el("th", { scope: "col", class: CLASSES[i] || null }, word));
  const node = el("table", { class: "runs-table" }, el("caption", { class: "unseen" }, LIST.caption), el("thead", null, el("tr", null, heads)), body);
  const rows = new Map();

  function rowOf(run) {
    if (!rows.has(run.run_id)) rows.set(run.run_id, createRow(run, go));
    return rows.get(run.run_id);
  }

  /** In this order; a node that stands where it should is not touched, so that the focus stays. */
  function order(runs) {
    const wanted = new Set(runs.map(({ run_id }) => run_id));
    for (const [id, { node: tr }] of rows) {
      if (wanted.has(id)) continue;
      tr.remove();
      rows.delete(id);
    }
    let place = body.firstElementChild;
    for (const run of runs) {
      const { node: tr } = rowOf(run);
      if (tr === place) place = place.nextElementSibling;
      else body.insertBefore(tr, place);
    }
  }

  return {
    node,
    /** Show these runs, newest first, with what was asked by run. fresh: the ids of those that just came. */
    show(runs, questions, fresh = []) {
      steady(body, () => {
        order(runs);
        for (const run of runs) rows.get(run.run_id).show(run, questions.get(run.run_id));
      });
      for (const id of fresh) rows.get(id)?.node.classList.add("runs-fresh");
    },
    focus: (id) => rows.get(id)?.link.focus({ preventScroll: true }),
  };
}
