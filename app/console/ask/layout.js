// The Ask page's parts. What a test may hold on to:
//   #ask #question #send #stop  the ask box, and its hint #hint; #options (options.js)
//   #ask-note                   what is said of a question that was put into the box
//   #empty .example             the three example questions of the empty state
//   #run #asked                 one run and its question
//   #verdict[data-change]       change of `final`, else the phase or the status of `done`; #verdict-word, #verdict-text,
//                               #verdict-more (attempt and countdown while the connection is lost)
//   #anyway                     do not wait for a connection
//   #problem                    a refusal or a lost connection: #problem-title, #problem-code, #problem-detail
//   #notice                     a stop or an accept that was not taken
//   #lanes [data-lane]          the lanes (lane.js); #accept takes the preliminary answer
//   #changes-toggle #changes    the word diff (changes.js); #race (timeline.js)
//   #done[data-status]          the last line: #done-status, #done-reason, #done-latency, #done-tokens, #done-cost,
//                               #done-source, #done-audit, #done-run
//   #again #fresh #copy #link   what one may do with a run
//   #recent-rows tr[data-run]   recent runs; #recent-empty when there are none or they cannot be read

import { el } from "../dom.js";
import { ASK, DONE, EXAMPLES, TABLE, anyway } from "./words.js";

const keys = (words) => words.flatMap((key, i) => (i === 0 ? [el("kbd", null, key)] : [" ", el("kbd", null, key)]));
const button = (id, words, props = {}) => el("button", { id, type: "button", class: "quiet", ...props }, words);
const entry = (label, props, ...content) => el("div", props, el("dt", null, label), el("dd", null, content));

function askBox(options) {
  return el(
    "form",
    { id: "ask", class: "card ask", autocomplete: "off" },
    el("label", { for: "question" }, ASK.question),
    el("textarea", { id: "question", name: "question", rows: 2, dir: "auto", spellcheck: "true", "aria-describedby": "hint ask-note" }),
    el("p", { id: "ask-note", class: "soft", role: "status", hidden: true }),
    el(
      "div",
      { class: "foot" },
      el("p", { id: "hint" }, ASK.hint.map((part) => (typeof part === "string" ? part : keys(part)))),
      button("stop", ASK.stop, { hidden: true }),
      el("button", { id: "send", type: "submit", class: "primary" }, ASK.send),
    ),
    options,
  );
}

const empty = () =>
  el(
    "section",
    { id: "empty", "aria-labelledby": "empty-title" },
    el("p", { class: "pitch" }, ASK.pitch),
    el("h2", { id: "empty-title", class: "quiet-title" }, ASK.examples),
    el("ul", { class: "examples" }, EXAMPLES.map((words) => el("li", null, el("button", { type: "button", class: "example" }, words)))),
  );

const done = () =>
  el(
    "dl",
    { id: "done", hidden: true },
    entry(DONE.status, null, el("span", { id: "done-status" }), " ", el("code", { id: "done-reason" })),
    entry(DONE.latency, null, el("span", { id: "done-latency" })),
    entry(DONE.tokens, null, el("span", { id: "done-tokens" })),
    entry(DONE.cost, null, el("span", { id: "done-cost" })),
    entry(DONE.source, null, el("span", { id: "done-source" })),
    entry(DONE.audit, null, el("span", { id: "done-audit" })),
    entry(DONE.run, { class: "wide" }, el("a", { id: "done-run" })),
  );

const run = ({ lanes, changes, race }) =>
  el(
    "section",
    { id: "run", "aria-labelledby": "asked", hidden: true },
    el("h2", { id: "asked", dir: "auto" }),
    el(
      "div",
      { id: "verdict" },
      el("span", { class: "dot", "aria-hidden": "true" }),
      el("p", null, el("strong", { id: "verdict-word" }), " ", el("span", { id: "verdict-text" }), " ", el("span", { id: "verdict-more" }), " ", button("anyway", anyway, { class: "quiet small", hidden: true })),
    ),
    el("div", { id: "problem", class: "panel problem", role: "alert", hidden: true }, el("h3", { id: "problem-title" }), el("p", { id: "problem-detail" }), el("p", { class: "code" }, el("code", { id: "problem-code" }))),
    el("p", { id: "notice", class: "panel", role: "status", hidden: true }),
    el("div", { id: "lanes", class: "lanes" }, lanes),
    el(
      "div",
      { class: "actions" },
      changes.toggle,
      button("copy", ASK.copy, { hidden: true }),
      button("link", ASK.link, { hidden: true }),
      button("again", ASK.again, { hidden: true }),
      button("fresh", ASK.fresh, { hidden: true }),
    ),
    changes.node,
    race,
    done(),
  );

const recent = () =>
  el(
    "section",
    { id: "recent", "aria-labelledby": "recent-title" },
    el("div", { class: "foot" }, el("h2", { id: "recent-title", class: "quiet-title" }, ASK.recent), el("a", { href: "#/runs" }, ASK.all)),
    el("p", { id: "recent-empty", class: "soft", hidden: true }),
    el(
      "div",
      { class: "scroll" },
      el(
        "table",
        { id: "recent-table", hidden: true },
        el(
          "thead",
          null,
          el(
            "tr",
            null,
            el("th", { scope: "col" }, TABLE.when),
            el("th", { scope: "col" }, TABLE.outcome),
            el("th", { scope: "col", class: "lane-col" }, TABLE.fast),
            el("th", { scope: "col", class: "lane-col" }, TABLE.slow),
            el("th", { scope: "col", class: "number" }, TABLE.latency),
            el("th", { scope: "col", class: "number cost-col" }, TABLE.cost),
          ),
        ),
        el("tbody", { id: "recent-rows" }),
      ),
    ),
  );

/** The page, given the parts that have modules of their own. */
export const layout = (parts) => [el("h1", { class: "unseen" }, ASK.title), askBox(parts.options), empty(), run(parts), recent()];
