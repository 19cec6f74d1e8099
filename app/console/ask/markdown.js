// Markdown as nodes of the page. Texts become text nodes; tags come from the closed set of parse.js, attributes from here.
//
//   const answer = createAnswer(node);   answer.show(text, {edition, whole})   call it as often as the text grows
// What is finished is made into nodes once and never again; what is not yet is shown as it was written.

import { createCutter } from "./blocks.js";
import { el } from "../dom.js";
import { createLines } from "./growing.js";
import { treeOf } from "./parse.js";
import { MARKDOWN } from "./words.js";

const CODE_PART = 500; // characters, in whole lines, that are laid out and painted together
const AT_ONCE = 16_000; // characters made into nodes in one call, so that a long answer does not hold up a frame
const IN_BIDI = new Set(["p", "h4", "h5", "h6", "li", "th", "td", "blockquote"]);

function propsOf(tree) {
  if (tree.tag === "a") return { href: tree.href, target: "_blank", rel: "noopener noreferrer nofollow", dir: "auto" };
  if (tree.tag === "ol" && tree.start !== 1) return { start: tree.start };
  if (tree.tag === "p" && tree.joined) return { dir: "auto", class: "joined" };
  return IN_BIDI.has(tree.tag) ? { dir: "auto" } : null;
}

function codeBlock(lang) {
  const code = el("code");
  return { code, node: el("pre", { tabindex: 0, dir: "ltr", role: "group", "aria-label": MARKDOWN.code(lang), dataset: { lang } }, code) };
}

/** The nodes of a tree. */
function toNode(tree) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const children = tree.children.map(toNode);
  if (tree.tag === "target") return el("bdi", { class: "target" }, children);
  if (tree.tag === "pre") {
    const { node, code } = codeBlock(tree.lang);
    code.append(...children);
    return node;
  }
  const node = el(tree.tag, propsOf(tree), children);
  return tree.tag === "table" ? el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": MARKDOWN.table }, node) : node;
}

/** Adds blocks at the end of a node. */
function createWriter(parent) {
  let code = null;
  let begun = null; // the line of code that goes on
  let list = null; // the list that the next item goes on with
  let rows = null; // the body of the table that more rows go on with

  function line(text) {
    const last = code.lastChild?.lastChild;
    if (begun !== null) begun.append(text);
    else if (last && last.length + text.length <= CODE_PART) last.appendData(text);
    else code.append(el("span", { class: "line" }, text));
    begun = text.endsWith("\n") ? null : code.lastChild;
  }

  function block(one, before) {
    const tree = treeOf(one);
    const node = toNode(tree);
    if (one.kind === "item" && list?.localName === tree.tag) list.append(...node.childNodes);
    else if (one.kind === "table" && one.joined && rows !== null) rows.append(...node.querySelectorAll("tr"));
    else parent.insertBefore(node, before);
    list = one.kind === "item" ? (list?.localName === tree.tag ? list : node) : null;
    rows = one.kind === "table" ? (one.joined && rows !== null ? rows : node.querySelector("tbody")) : null;
  }

  return {
    add(one, before) {
      if (one.kind === "code") {
        const made = codeBlock(one.lang);
        [code, begun, list, rows] = [made.code, null, null, null];
        parent.insertBefore(made.node, before);
      } else if (one.kind === "line") line(one.text);
      else if (one.kind === "close") [code, begun] = [null, null];
      else block(one, before);
    },
    /** Where in a code block its text goes on; null outside one. */
    get home() {
      return begun ?? code;
    },
  };
}

/** A node that shows a growing text. */
export function createAnswer(parent) {
  const tail = el("p", { class: "tail", dir: "auto" });
  const lines = createLines(tail);
  let cutter;
  let writer;
  let shown;
  let edition;
  let whole;

  function clear(current) {
    [cutter, shown, edition, whole] = [createCutter(), 0, current, false];
    lines.show("");
    parent.replaceChildren(tail);
    writer = createWriter(parent);
  }

  /** What is not whole. */
  function showTail() {
    const { rest } = cutter;
    lines.show(rest);
    const home = writer.home ?? parent;
    if (tail.parentNode !== home || home.lastChild !== tail) home.append(tail);
    tail.hidden = rest === "";
  }

  clear(0);
  return {
    /** Take in more of the text; false once nothing is left to do. edition: another one means another text; whole: no more will come. */
    show(text, { edition: current = 0, whole: ended = false } = {}) {
      if (current !== edition || text.length < shown || (whole && text.length > shown)) clear(current);
      if (whole || (text.length === shown && !ended)) return false;
      const blocks = cutter.push(text.slice(shown, shown + AT_ONCE));
      shown = Math.min(text.length, shown + AT_ONCE);
      whole = ended && shown === text.length;
      if (whole) blocks.push(...cutter.end());
      if (blocks.length > 0 && writer.home !== null) tail.remove();
      for (const block of blocks) writer.add(block, tail.parentNode === parent ? tail : null);
      showTail();
      return shown < text.length;
    },
  };
}
