// Insight: filters, and cards that each ask for their own numbers. What a test may hold on to:
// #page-insight > .insight[data-state=loading|ready|empty|none|problem]; #insight-tiles [data-tile]; section[data-card=times|
// verdicts|trend|money|cache|contest][data-state]; bar.js, card.js and draw/chart.js name theirs.

import { el, mark, replace } from "../dom.js";
import { createBar, optionsOf } from "./bar.js";
import { createCard } from "./card.js";
import { contest } from "./contest.js";
import { createAsker, createGate } from "./gate.js";
import { money } from "./money.js";
import { emptyPage, nothingPage, problemPage } from "./panels.js";
import { LABELS, filtersOf, hashOf, narrowed, selectionOf, spanOf, stepOf } from "./query.js";
import { saved } from "./saved.js";
import { tilesOf } from "./tiles.js";
import { times } from "./times.js";
import { trend } from "./trend.js";
import { verdicts } from "./verdicts.js";
import { PAGE } from "./words.js";

const CARDS = [times, verdicts, trend, money, saved, contest];
const AT_ONCE = 2; // of the six connections that all tabs share
const STATS = "/api/experiments/stats";

/** The values that there are of every label in this span; null where they cannot be read. */
async function optionsOfSpan(ask, filters, now) {
  const span = spanOf(filters, now);
  const by = (keys) => ask(STATS, { ...span, by: keys }).then((answer) => answer.groups, (error) => {
    if (error.name === "AbortError") throw error;
    return null; // too many groups, or not now: a text field does as well
  });
  const [labels, classes, models] = await Promise.all([by("experiment,variant"), by("class"), by("model")]);
  const within = (group) => !filters.experiment || group.key.experiment === filters.experiment;
  return {
    experiment: labels && optionsOf(labels, ["experiment"]),
    variant: labels && optionsOf(labels, ["variant"], within),
    prompt_class: classes && optionsOf(classes, ["class"]),
    model: models && optionsOf(models, ["fast_model", "slow_model"]),
  };
}

const nothing = (total) => total.n === 0 && Object.keys(total.source).length === 0;

/** Open the page in root. */
export function open(root, route, app) {
  const gate = createGate(AT_ONCE);
  const cards = CARDS.map((kind) => ({ kind, card: createCard(kind) }));
  let filters = filtersOf(route.params);
  let options = Object.fromEntries(LABELS.map((name) => [name, []]));
  let running = new AbortController();

  const bar = createBar({ change, refresh });
  const tiles = el("dl", { id: "insight-tiles" });
  const stage = el("div", { id: "insight-stage" });
  const grid = el("div", { class: "insight-grid" }, cards.map(({ card }) => card.node));
  const page = el("div", { class: "insight", dataset: { state: "loading" } }, heading(), bar.node, stage, tiles, grid);
  replace(root, page);

  function change(changed) {
    app.go(hashOf({ ...filters, ...changed }));
  }

  function stand(state, node = null) {
    mark(page, "state", state);
    replace(stage, node);
    tiles.hidden = grid.hidden = state !== "ready";
  }

  async function fill({ kind, card }, ask, now, signal) {
    card.tools(kind.tools?.(filters, change) ?? []);
    card.loading();
    try {
      const shown = kind.view(await kind.load(ask, filters, now), filters, change);
      if (signal.aborted) for (const one of shown.charts ?? []) one.close();
      else if (shown.empty) card.empty(shown.empty, shown.more);
      else card.ready(shown);
    } catch (error) {
      if (!signal.aborted) card.problem(error, { again: refresh, change });
    }
  }

  /** Whether there is anything to count; if not, the page says what to do about it. */
  async function something(ask, total) {
    if (!nothing(total)) return true;
    const ever = await ask(STATS);
    if (nothing(ever.total)) stand("empty", emptyPage());
    else stand("none", nothingPage(filters, change));
    bar.asOf("");
    return false;
  }

  async function refresh() {
    running.abort();
    running = new AbortController();
    const { signal } = running;
    const ask = createAsker(app.api, gate, signal);
    const now = Date.now();
    bar.show(filters, options);
    page.setAttribute("aria-busy", "true");
    try {
      const { total } = await ask(STATS, { ...selectionOf(filters, now), by: stepOf(filters) });
      if (signal.aborted) return;
      if (await something(ask, total)) await everything(ask, { total, now, signal });
      else await choices(ask, now, signal);
    } catch (error) {
      if (signal.aborted) return;
      stand("problem", problemPage(error, refresh));
    } finally {
      if (!signal.aborted) page.removeAttribute("aria-busy");
    }
  }

  async function everything(ask, { total, now, signal }) {
    stand("ready");
    replace(tiles, tilesOf(total));
    bar.asOf(PAGE.asOf(total.n, new Date(now).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })));
    app.announce(PAGE.updated(total.n));
    await Promise.all([...cards.map((one) => fill(one, ask, now, signal)), choices(ask, now, signal)]);
  }

  async function choices(ask, now, signal) {
    if (!narrowed(filters) && page.dataset.state === "empty") return;
    const found = await optionsOfSpan(ask, filters, now);
    if (signal.aborted) return;
    options = found;
    bar.show(filters, options);
  }

  refresh();
  return {
    update(next) {
      filters = filtersOf(next.params);
      refresh();
    },
    close() {
      running.abort();
      for (const { card } of cards) card.close();
    },
  };
}

const heading = () => el("header", { class: "insight-head" }, el("h1", null, PAGE.title), el("p", { class: "soft" }, PAGE.lead));
