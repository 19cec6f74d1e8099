// A block of Markdown as plain data, {tag, children, ...}, and a whole text as a list of them. Pure.

import { createCutter } from "./blocks.js";
import { inline } from "./inline.js";

const DEEPEST = 5; // lists in quotes in lists ...

const cells = (row) => {
  const bare = row.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return bare.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
};

const rowOf = (tag, row) => ({ tag: "tr", children: cells(row).map((cell) => ({ tag, children: inline(cell) })) });

function table({ text, joined }) {
  const rows = text.split("\n").filter((row) => row.trim() !== "");
  const head = joined ? [] : [{ tag: "thead", children: [rowOf("th", rows[0])] }];
  const body = { tag: "tbody", children: rows.slice(joined ? 0 : 2).map((row) => rowOf("td", row)) };
  return { tag: "table", joined, children: [...head, body] };
}

/** The answer stands below headings of the page, hence h4 to h6. */
function heading({ text }) {
  const [, marks, words] = /^(#+)\s+(.*)$/.exec(text);
  return { tag: `h${Math.min(6, marks.length + 3)}`, children: inline(words.replace(/(?<=\s)#+$/, "").trimEnd()) };
}

function item({ text, ordered, start }, depth) {
  const [first, ...more] = text.replace(/^\[([ xX])\]\s/, (_, x) => (x === " " ? "☐ " : "☑ ")).split("\n");
  const indents = more.filter((line) => /\S/.test(line)).map((line) => /^ */.exec(line)[0].length);
  const indent = Math.min(4, ...indents.filter((width) => width > 0));
  const inner = [first, ...more.map((line) => (indents.length ? line.replace(new RegExp(`^ {0,${indent}}`), "") : line))].join("\n").trim();
  const blocks = parse(inner, depth + 1);
  const children = blocks[0]?.tag === "p" ? [...blocks[0].children, ...blocks.slice(1)] : blocks;
  return { tag: ordered ? "ol" : "ul", start, children: [{ tag: "li", children }] };
}

const quote = ({ text }, depth) => ({ tag: "blockquote", children: parse(text.replace(/^ {0,3}> ?/gm, ""), depth + 1) });
const para = ({ text, joined }) => ({ tag: "p", joined, children: inline(text) });

const KINDS = new Map([
  ["para", para],
  ["table", table],
  ["heading", heading],
  ["rule", () => ({ tag: "hr", children: [] })],
  ["item", item],
  ["quote", quote],
]);

/** The tree of one block; a code block comes in pieces and has none. */
export const treeOf = (block, depth = 0) => KINDS.get(block.kind)(block, depth);

function gather(out, block, depth) {
  const last = out.at(-1);
  if (block.kind === "code") out.push({ tag: "pre", lang: block.lang, children: [""] });
  else if (block.kind === "line") last.children[0] += block.text;
  else if (block.kind !== "close") {
    const tree = treeOf(block, depth);
    if (continues(last, tree)) last.children.push(...tree.children);
    else out.push(tree);
  }
}

/** A list item goes on with the list before it. */
export const continues = (last, tree) => ["ul", "ol"].includes(tree.tag) && last?.tag === tree.tag;

/** The trees of a whole text. */
export function parse(text, depth = 0) {
  if (depth > DEEPEST) return [{ tag: "p", children: [text] }];
  const cutter = createCutter();
  const out = [];
  for (const block of [...cutter.push(text), ...cutter.end()]) gather(out, block, depth);
  return out;
}

const BLOCKS = new Set(["p", "h4", "h5", "h6", "ul", "ol", "pre", "blockquote", "table", "hr"]);

const ends = (tag) => (BLOCKS.has(tag) ? "\n\n" : tag === "li" || tag === "tr" || tag === "br" ? "\n" : tag === "td" || tag === "th" ? " " : "");

function said(tree) {
  if (typeof tree === "string") return tree;
  const words = tree.children.map((child) => (BLOCKS.has(child.tag) ? `\n${said(child)}` : said(child))).join("");
  if (tree.tag === "target") return ` (${words})`;
  return `${tree.tag === "li" ? "• " : ""}${words}${ends(tree.tag)}`;
}

/** The words of a text without its marks, paragraphs apart. */
export const plainOf = (text) => parse(text).map(said).join("").replace(/\n{3,}/g, "\n\n").trim();
