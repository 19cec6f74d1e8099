// Texts that grow, so that what is added costs a line and not the paragraph: a browser lays out and paints anew all of a
// box in which a text changes. And boxes around them: one that grows in steps, one that stays at its end.

import { el } from "../dom.js";

const STEP = 144; // pixels: about five lines of an answer
const LINE = 30; // pixels: there is always room for one more, which then need not wait for the next step
const FAR = 1e7; // pixels: behind the end of every box

/** Where the last line of a text node begins, 0 where there is but one. Measures; to be asked while nothing is to be laid out. */
function lastLine(node) {
  const range = document.createRange();
  range.selectNode(node);
  if (range.getClientRects().length < 2) return 0;
  const bottomOf = (at) => {
    range.setStart(node, at);
    range.setEnd(node, at + 1);
    return range.getBoundingClientRect().bottom;
  };
  const words = [...node.data.matchAll(/\S+/g)];
  if (words.length === 0) return 0;
  const [last] = words.at(-1);
  const bottom = bottomOf(words.at(-1).index + last.length - 1);
  const isLast = (at) => bottomOf(at) > bottom - 2;
  const i = words.findLastIndex(({ index }) => !isLast(index));
  if (i < 0) return 0;
  const { index, 0: word } = words[i];
  if (i < words.length - 1 && !isLast(index + word.length - 1)) return words[i + 1].index;
  let [low, high] = [1, word.length - 1]; // a word that is longer than a line
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isLast(index + middle)) high = middle;
    else low = middle + 1;
  }
  return index + low;
}

/** Does what puts the text of a node into other boxes; what is selected of it stays selected. */
function keepingSelected(node, move) {
  const { anchorNode, anchorOffset, focusNode, focusOffset } = getSelection();
  const points = [[anchorNode, anchorOffset], [focusNode, focusOffset]];
  if (!points.some(([at]) => node.contains(at))) return move();
  const range = document.createRange();
  const before = points.map(([at, offset]) => {
    if (!node.contains(at)) return null;
    range.setStart(node, 0);
    range.setEnd(at, offset);
    return range.toString().length;
  });
  move();
  return getSelection().setBaseAndExtent(...points.flatMap((point, i) => (before[i] === null ? point : pointAt(node, before[i]))));
}

/** The place behind so many characters of a node's text. */
function pointAt(node, count) {
  const texts = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  let left = count;
  while (texts.nextNode()) {
    const { currentNode: text } = texts;
    if (left <= text.length) return [text, left];
    left -= text.length;
  }
  return [node, node.childNodes.length];
}

/**
 * The text of a node as lines that stand and one that grows. What is found to stand above the last
 * line gets a box of its own with the next text, until the width changes.
 */
export function createLines(node) {
  const grows = document.createTextNode("");
  const end = el("span", { class: "line" }, grows);
  let shown = "";
  let above = 0; // characters of the growing node that are above its last line
  let width = 0;

  function together() {
    node.replaceChildren(end);
    grows.data = shown;
    above = 0;
  }

  /** What is above the last line of what grows gets a box of its own. */
  function part() {
    end.before(el("span", { class: "line" }, grows.data.slice(0, above)));
    grows.deleteData(0, above);
    above = 0;
  }

  function look([{ contentRect }]) {
    if (contentRect.width === 0) return; // hidden
    above = lastLine(grows);
    if (contentRect.width !== width) requestAnimationFrame(() => keepingSelected(node, together));
    width = contentRect.width;
  }

  new ResizeObserver(look).observe(end);
  together();
  return {
    show(text) {
      if (text === shown) return;
      const fresh = text.startsWith(shown) ? text.slice(shown.length) : null;
      shown = text;
      if (fresh === null) return together();
      if (above > 0) keepingSelected(node, part);
      grows.appendData(fresh);
    },
  };
}

/** Shows a plain text that grows; tells whether something was added. */
export function createGrowing(node) {
  const lines = createLines(node);
  let shown = 0;
  return (text) => {
    if (text.length === shown) return false;
    lines.show(text);
    shown = text.length;
    return true;
  };
}

/** A box around one that grows: while it does, its height goes in steps, so that few lines move what is around it. */
export function createRoom(box) {
  const node = el("div", null, box);
  let growing = false;
  let needed = 0;

  const height = () => (growing && needed > STEP ? `${Math.ceil((needed + LINE) / STEP) * STEP}px` : "");
  const fits = () => node.style.height === height();

  function fit() {
    if (!fits()) Object.assign(node.style, { height: height(), contain: height() && "size layout style" });
  }

  function look([{ contentRect }]) {
    needed = contentRect.height;
    if (!fits()) requestAnimationFrame(fit); // not now: what an observer changes may not come before the next frame
  }

  new ResizeObserver(look).observe(box);
  return {
    node,
    grow(now) {
      growing = now;
      if (!growing) fit();
    },
  };
}

/** Returns what moves a box to its end, unless it was scrolled away from there. Only a scroll measures it. */
export function followEnd(box) {
  let following = true;
  const look = () => (following = box.scrollTop + box.clientHeight >= box.scrollHeight - 4);
  box.addEventListener("scroll", look, { passive: true });
  return () => {
    if (following) box.scrollTop = FAR;
  };
}
