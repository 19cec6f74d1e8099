// app/console/ask/parse.js and blocks.js: Markdown as plain data, however it is cut, whatever is in it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { BLOCK_MAX, createCutter } from "../../app/console/ask/blocks.js";
import { inline, safeUrl, targetOf } from "../../app/console/ask/inline.js";
import { parse, plainOf } from "../../app/console/ask/parse.js";

const TAGS = ["p", "h4", "h5", "h6", "ul", "ol", "li", "pre", "code", "strong", "em", "del", "blockquote", "table", "thead", "tbody", "tr", "th", "td", "hr", "br", "a", "target"];

/** Every node of trees, strings included. */
const all = (trees) => trees.flatMap((tree) => (typeof tree === "string" ? [tree] : [tree, ...all(tree.children)]));
const textOf = (trees) => all(trees).filter((node) => typeof node === "string").join("");
const tags = (text) => all(parse(text)).filter((node) => typeof node !== "string").map(({ tag }) => tag);
const links = (text) => all(parse(text)).filter(({ tag }) => tag === "a").map(({ href }) => href);

test("Blocks of every kind become their tags, headings shifted below those of the page.", () => {
  assert.deepEqual(tags("# A\n### B"), ["h4", "h6"]);
  assert.deepEqual(tags("a\nb\n\nc"), ["p", "p"]);
  assert.deepEqual(tags("- a\n- b\n  - c"), ["ul", "li", "li", "ul", "li"]);
  assert.deepEqual(tags("3. a\n\n4. b"), ["ol", "li", "li"]);
  assert.deepEqual(tags("> a\n> - b"), ["blockquote", "p", "ul", "li"]);
  assert.deepEqual(tags("|a|b|\n|-|-|\n|1|2|"), ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]);
  assert.deepEqual(tags("---"), ["hr"]);
});

test("Code keeps every character, in a fence, in a list and unfinished.", () => {
  assert.equal(textOf(parse("```js\n<b> *x*\n\n  y\n```\nafter")), "<b> *x*\n\n  y\nafter");
  assert.deepEqual(tags("1. do\n   ```sh\n   a\n\n   b\n   ```\n2. then"), ["ol", "li", "pre", "li"]);
  assert.equal(textOf(parse("~~~\n```\nx")), "```\nx\n");
  assert.equal(textOf(inline("`` a`b `` and `c`")), "a`b and c");
});

test("Emphasis needs both its ends, and leaves names and products as they are.", () => {
  assert.deepEqual(inline("a **b** *c* ~~d~~").map((node) => node.tag ?? node), ["a ", "strong", " ", "em", " ", "del"]);
  for (const plain of ["snake_case_name", "2*3*4", "a * b * c", "**open", "5 ~ 6", "_", "* *"]) assert.deepEqual(inline(plain), [plain]);
  assert.deepEqual(inline("\\*not\\*"), ["*not*"]);
});

test("A link leads only to http, https and mailto, and what it leads to is shown.", () => {
  assert.deepEqual(links("[a](https://a.example/x_(y)) <mailto:b@b.example> https://c.example/d."), ["https://a.example/x_(y)", "mailto:b@b.example", "https://c.example/d"]);
  assert.ok(textOf(parse("[my bank](https://evil.example/a)")).includes("evil.example/a"));
  assert.equal(targetOf("https://www.a.example/").length, "a.example".length);
});

for (const hostile of ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:https://a.example/1", "//a.example", "/v1/reason?input=x", "#", "&#106;avascript:x", "https://", "http:"]) {
  test(`${JSON.stringify(hostile)} is no link.`, () => {
    assert.equal(safeUrl(hostile), null);
    assert.deepEqual(links(`[x](${hostile}) <${hostile}> ![y](${hostile})`).filter((href) => !href.startsWith("https://a.example/")), []);
  });
}

test("A name and a password are taken out of an address, so that they hide no host.", () => {
  assert.deepEqual(links("[x](https://bank.example@evil.example/)"), ["https://evil.example/"]);
});

test("Without their marks words stay apart: those of a list in a list, of code in an item, of a link and where it leads.", () => {
  assert.equal(plainOf("1. one\n   - inner\n2. two"), "• one\n• inner\n\n• two");
  assert.equal(plainOf("- item\n  ```\n  code\n  ```"), "• item\ncode");
  assert.equal(plainOf("see [bank](https://evil.example/x) now"), "see bank (evil.example/x) now");
});

test("An image is not loaded: it becomes a link with its words.", () => {
  assert.deepEqual(tags("![a tower](https://i.example/t.png)"), ["p", "a", "target"]);
  assert.ok(textOf(parse("![a tower](https://i.example/t.png)")).includes("a tower"));
});

test("HTML stays text, and no tag beyond the closed set ever comes out.", () => {
  const text = "<script>alert(1)</script> <img src=x onerror=y>\n\n<iframe src=javascript:x>\n\n- <b>c</b>";
  assert.equal(textOf(parse(text)).includes("<script>alert(1)</script>"), true);
  assert.deepEqual(tags(text).filter((tag) => !TAGS.includes(tag)), []);
});

const SAMPLE = "# T\nA **b** `c`\nd\n\n- x\n  - y\n\n  z\n- w\n\n1. a\n   ```\n   q\n   ```\n\n|h|i|\n|-|-|\n|1|2|\n\n> q\n> r\n\n```js\nlet a;\n\nb\n```\n---\nend";

test("A text that comes in pieces is the same as one that comes whole, wherever it is cut.", () => {
  const whole = createCutter();
  const expected = [...whole.push(SAMPLE), ...whole.end()];
  for (let size = 1; size < 9; size += 1) {
    const cutter = createCutter();
    const got = [];
    for (let i = 0; i < SAMPLE.length; i += size) got.push(...cutter.push(SAMPLE.slice(i, i + size)));
    assert.deepEqual([...got, ...cutter.end()], expected, `in pieces of ${size}`);
  }
});

test("Nothing of a text is lost, and what is not whole yet stays short.", () => {
  const giant = "x".repeat(50_000);
  const cutter = createCutter();
  let blocks = [];
  for (let i = 0; i < giant.length; i += 100) {
    blocks.push(...cutter.push(giant.slice(i, i + 100)));
    assert.ok(cutter.rest.length <= BLOCK_MAX);
  }
  blocks = [...blocks, ...cutter.end()];
  assert.equal(blocks.map(({ text }) => text).join(""), giant);
  assert.deepEqual(blocks.map(({ joined }) => joined ?? false).slice(0, 3), [false, true, true]);
});

test("A table begins right below a line of text, too; the line stays what it was.", () => {
  assert.deepEqual(tags("Both:\nas\n| a | b |\n|---|---|\n| 1 | 2 |"), ["p", ...tags("| a | b |\n|---|---|\n| 1 | 2 |")]);
  assert.deepEqual(parse("Both:\nas\n| a |\n|---|")[0].children, ["Both:\nas"]);
  assert.deepEqual(tags("either | or\nno columns\n|---|"), ["p"]);
});

test("A long table goes on with its rows where it is cut.", () => {
  const rows = Array.from({ length: 2000 }, (_, i) => `| ${i} | b |`);
  const cut = parse(["| n | b |", "|---|---|", ...rows].join("\n")).filter(({ tag }) => tag === "table");
  assert.ok(cut.length > 1 && cut.slice(1).every(({ joined }) => joined));
  assert.equal(all(cut).filter(({ tag }) => tag === "tr").length, 2001);
});

test("A character of two halves is not cut between them.", () => {
  const cutter = createCutter();
  const blocks = cutter.push(`x${"😀".repeat(BLOCK_MAX)}`);
  assert.ok(blocks.length > 1 && blocks.every(({ text }) => text.isWellFormed()));
});

for (const [name, text] of Object.entries({
  stars: "*".repeat(1e5),
  "open emphasis": "*a ".repeat(3e4),
  "open brackets": "[a](".repeat(3e4),
  "open images": "![a](http://".repeat(2e3),
  ticks: "`a``b".repeat(2e4),
  "nested quotes": ">".repeat(1e5),
  "nested lists": Array.from({ length: 300 }, (_, i) => `${" ".repeat(i)}- x`).join("\n"),
  bars: `${"|a".repeat(5e4)}\n${"|-".repeat(5e4)}`,
})) {
  test(`A hostile text of ${name} is parsed whole and in bounded depth.`, () => {
    const depth = (tree) => (typeof tree === "string" ? 0 : 1 + Math.max(0, ...tree.children.map(depth)));
    assert.ok(Math.max(...parse(text).map(depth)) < 60);
  });
}

test("No block is longer than what may be searched at once, whatever the line it came from.", () => {
  const many = (text) => text.repeat(50_000 / text.length);
  for (const line of [`~~~${many(" ")}\``, `${many("~")}\``, `# a${many(" ")}b`, `a|b\n-${many(" ")}x`, `\` ${many("a")}\``, many("|"), `> ${many(">")}`, `- ${many("[")}`]) {
    const cutter = createCutter();
    const blocks = [...cutter.push(`${line}\nand on\n`), ...cutter.end()];
    assert.ok(blocks.every(({ text = "" }) => text.length <= 2 * BLOCK_MAX + 10));
  }
});

test("A whole text is cut as one that came in pieces.", () => {
  for (const line of ["word ".repeat(3000), "x".repeat(9000), `| ${"a | ".repeat(2000)}`, `- ${"b ".repeat(4000)}`]) {
    const [whole, pieces] = [createCutter(), createCutter()];
    const text = `${line}\nafter\n`;
    const cut = [...text].flatMap((char) => pieces.push(char));
    assert.deepEqual([...whole.push(text), ...whole.end()], [...cut, ...pieces.end()]);
  }
});
