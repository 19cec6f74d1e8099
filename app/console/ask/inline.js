// What stands within a block of Markdown, as plain data: a text is a string, everything else {tag, children, ...}.
// Tags: strong, em, del, code, br, a (href; only http, https and mailto), target (where a link leads, to be shown).
// Every search ahead is bounded, so that no text costs more than its length times a constant.

import { MARKDOWN } from "./words.js";

const SPECIAL = /[\\`*_~[!<]|\bhttps?:\/\//g;
const LINK = /!?\[((?:[^[\]\\]|\\.|\[[^[\]]{0,200}\]){0,500})\]\(\s{0,9}<?([^\s()<>]{1,2000}(?:\([^\s()<>]{0,200}\)[^\s()<>]{0,200}){0,3})>?(?:\s{1,9}["'(][^"'()]{0,300}["')])?\s{0,9}\)/y;
const ANGLED = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y;
const BARE = /https?:\/\/[^\s<>"`]{1,2000}/y;
const BEHIND = new Set(".,;:!?'*_~])}"); // ends a sentence, and not an address
const BREAK = /<br ?\/?>/iy;
const DEEPEST = 6;
const TRIES = 100;
const TARGET_MAX = 60;
const SCHEMES = new Set(["http:", "https:", "mailto:"]);

/** The address if it leads somewhere a link may lead, without a name and a password in it; else null. */
export function safeUrl(text) {
  try {
    const url = new URL(text);
    if (!SCHEMES.has(url.protocol)) return null;
    [url.username, url.password] = url.protocol === "mailto:" ? [url.username, url.password] : ["", ""];
    return url.href;
  } catch {
    return null;
  }
}

/** Where an address leads, short enough to be shown behind the words of its link. */
export function targetOf(href) {
  const bare = href.replace(/^https?:\/\/(?:www\.)?|^mailto:/, "").replace(/\/$/, "");
  return bare.length > TARGET_MAX ? `${bare.slice(0, TARGET_MAX - 1)}…` : bare;
}

function linkTo(address, children, shown) {
  const href = safeUrl(address);
  if (href === null) return [...children, ` (${address})`];
  const link = { tag: "a", href, children };
  return shown === address ? [link] : [link, { tag: "target", children: [targetOf(href)] }];
}

function linked(text, at, depth) {
  LINK.lastIndex = at;
  const found = LINK.exec(text);
  if (found === null) return null;
  const [whole, words, address] = found;
  const image = whole.startsWith("!");
  const children = image ? [MARKDOWN.image(words)] : inline(words, depth + 1, true);
  return { nodes: linkTo(address, children, words), to: at + whole.length };
}

function bare(text, at) {
  BARE.lastIndex = at;
  const whole = BARE.exec(text)?.[0] ?? "";
  let end = whole.length;
  while (BEHIND.has(whole[end - 1])) end -= 1;
  let found = whole.slice(0, end);
  if (whole[found.length] === ")" && found.split("(").length > found.split(")").length) found += ")";
  const href = found && safeUrl(found);
  return href ? { nodes: [{ tag: "a", href, children: [found] }], to: at + found.length } : null;
}

function angled(text, at) {
  BREAK.lastIndex = at;
  const line = BREAK.exec(text);
  if (line) return { nodes: [{ tag: "br", children: [] }], to: at + line[0].length };
  ANGLED.lastIndex = at;
  const found = ANGLED.exec(text);
  return found && safeUrl(found[1]) ? { nodes: linkTo(found[1], [found[1]], found[1]), to: at + found[0].length } : null;
}

function coded(text, at, never) {
  const run = /`+/y;
  run.lastIndex = at;
  const [fence] = run.exec(text);
  if (!never.has(fence)) {
    let end = text.indexOf(fence, at + fence.length);
    while (end >= 0 && text[end + fence.length] === "`") {
      while (text[end] === "`") end += 1;
      end = text.indexOf(fence, end);
    }
    if (end >= 0) {
      const inner = text.slice(at + fence.length, end);
      const padded = inner.startsWith(" ") && inner.endsWith(" ") && inner.trim() !== "";
      const trimmed = padded ? inner.slice(1, -1) : inner;
      return { nodes: [{ tag: "code", children: [trimmed] }], to: end + fence.length };
    }
    never.add(fence);
  }
  return { nodes: [fence], to: at + fence.length };
}

const word = (char) => char !== undefined && /[\p{L}\p{N}]/u.test(char);
const space = (char) => char === undefined || /\s/.test(char);

function closer(text, from, mark) {
  const char = mark[0];
  let at = text.indexOf(mark, from);
  for (let tries = 0; at >= 0 && tries < TRIES; tries += 1) {
    let end = at;
    while (text[end] === char) end += 1;
    const exact = mark.length === 1 ? end - at === 1 || end - at === 3 : end - at >= 2;
    if (exact && !space(text[at - 1]) && text[at - 1] !== "\\" && !(char === "_" && word(text[end]))) return end - mark.length;
    at = text.indexOf(mark, end);
  }
  return -1;
}

function emphasised(text, at, { depth, never, within }) {
  const char = text[at];
  let end = at;
  while (text[end] === char) end += 1;
  const run = end - at;
  const literal = { nodes: [text.slice(at, end)], to: end };
  const mark = char.repeat(Math.min(run, 2));
  const product = char === "_" ? word(text[at - 1]) : mark === "*" && /\d/.test(text[at - 1] ?? ""); // snake_case, 2*3*4
  const opens = run <= 3 && !space(text[end]) && !product && mark !== "~";
  if (!opens || depth >= DEEPEST || never.has(mark)) return literal;
  const close = closer(text, end, mark);
  if (close < 0) {
    never.add(mark);
    return literal;
  }
  const tag = char === "~" ? "del" : mark.length === 2 ? "strong" : "em";
  return { nodes: [{ tag, children: inline(text.slice(at + mark.length, close), depth + 1, within) }], to: close + mark.length };
}

function escaped(text, at) {
  const next = text[at + 1];
  return next !== undefined && /[!-/:-@[-`{-~]/.test(next) ? { nodes: [next], to: at + 2 } : null;
}

function one(text, at, context) {
  const char = text[at];
  if (char === "\\") return escaped(text, at);
  if (char === "`") return coded(text, at, context.never);
  if (char === "*" || char === "_" || char === "~") return emphasised(text, at, context);
  if (context.within) return null; // no link within a link
  if (char === "<") return angled(text, at);
  if (char === "h") return bare(text, at);
  return linked(text, at, context.depth);
}

/** The nodes of a text. within: it is the text of a link. */
export function inline(text, depth = 0, within = false) {
  const nodes = [];
  const context = { depth, within, never: new Set() };
  let done = 0;
  SPECIAL.lastIndex = 0;
  for (let found = SPECIAL.exec(text); found; found = SPECIAL.exec(text)) {
    const at = found.index;
    const next = SPECIAL.lastIndex;
    const piece = one(text, at, context);
    SPECIAL.lastIndex = piece?.to ?? next; // `one` has used it for what is within
    if (piece === null) continue;
    nodes.push(text.slice(done, at), ...piece.nodes);
    done = piece.to;
  }
  nodes.push(text.slice(done));
  return joined(nodes);
}

function joined(nodes) {
  const out = [];
  for (const node of nodes) {
    if (typeof node === "string" && typeof out.at(-1) === "string") out[out.length - 1] += node;
    else if (node !== "") out.push(node);
  }
  return out;
}
