// Markdown cut into blocks while it is still being written. Pure, and linear in the text: no block is looked at twice.
//
// createCutter() -> {push(text), end()}, each returning the blocks that are whole by then; `rest` is what is not yet.
//   {kind: "para" | "quote" | "table" | "heading" | "rule", text}   joined: goes on where the last block was cut
//   {kind: "item", text, ordered, start}
//   {kind: "code", lang} opens a code block, {kind: "line", text} adds to it, {kind: "close"} ends it

export const BLOCK_MAX = 2000; // characters; a longer block is cut, so that what is not whole stays cheap to show

const FENCE = /^( {0,3})(`{3,}(?!`)|~{3,}(?!~))([^`]*)$/;
const HEADING = /^ {0,3}#{1,6}\s+\S/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const ITEM = /^( {0,3})([-*+•]|(\d{1,9})[.)])(?:[ \t]+(?=\S)|$)/;
const QUOTE = /^ {0,3}>/;
const DELIMITER = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*){0,200}\|?[ \t]*$/;
const blank = (line) => line.trim() === "";

function itemOf(line) {
  const [marker, indent, , number] = ITEM.exec(line);
  return { kind: "item", text: line.slice(marker.length), ordered: number !== undefined, start: Number(number ?? 1), width: indent.length + 2 };
}

/** Where to cut a text that is too long: at a space if there is one, never within a character. */
function cutAt(text, most) {
  const space = text.lastIndexOf(" ", most);
  if (space > most / 2) return space + 1;
  const code = text.charCodeAt(most - 1);
  return code >= 0xd800 && code < 0xdc00 ? most - 1 : most;
}

export function createCutter() {
  let pending = ""; // a line that has not ended
  let open = null; // a block that may go on
  let code = null; // the fence that ends a code block
  let joined = false; // the open block goes on from the one before it
  let out = [];

  function finish() {
    if (open !== null) out.push(open);
    open = null;
  }

  function begin(kind, text) {
    finish();
    open = joined ? { kind, text, joined } : { kind, text };
    joined = false;
  }

  function single(kind, text) {
    finish();
    joined = false;
    out.push({ kind, text });
  }

  function codeLine(line) {
    const bare = line.trim();
    if (bare.length >= code.length && bare === code[0].repeat(bare.length)) {
      code = null;
      out.push({ kind: "close" });
    } else out.push({ kind: "line", text: `${line}\n` });
  }

  /** Whether the line goes on with the list item that is open. */
  function withinItem(line) {
    if (open?.kind !== "item") return false;
    const indented = /^(?: {2,}|\t)/.test(line);
    if (open.fence || indented || blank(line)) {
      const fence = FENCE.exec(line.trim());
      if (open.fence && line.trim().startsWith(open.fence) && fence?.[3] === "") open.fence = null;
      else if (!open.fence && fence && indented) open.fence = fence[2];
      open.gap = blank(line) && !open.fence;
      open.text += `\n${line}`;
      return true;
    }
    if (open.gap || startsBlock(line)) return false;
    open.text += `\n${line}`;
    return true;
  }

  const startsBlock = (line) => FENCE.test(line) || HEADING.test(line) || RULE.test(line) || ITEM.test(line) || QUOTE.test(line);

  function starting(line) {
    const fence = FENCE.exec(line);
    if (fence) {
      finish();
      code = fence[2];
      out.push({ kind: "code", lang: fence[3].trim().split(/\s/)[0].slice(0, 30) });
    } else if (RULE.test(line)) single("rule", "");
    else if (HEADING.test(line)) single("heading", line.trim());
    else if (QUOTE.test(line)) {
      if (open?.kind === "quote") open.text += `\n${line}`;
      else begin("quote", line);
    } else if (interrupts(line)) {
      finish();
      joined = false;
      open = itemOf(line);
    } else return false;
    return true;
  }

  /** A list item begins; within a paragraph only with a bullet or the number 1, so that “in\n1984. It was” stays one. */
  function interrupts(line) {
    const item = ITEM.exec(line);
    return item !== null && (open?.kind !== "para" || (line.length > item[0].length && (item[3] ?? "1") === "1"));
  }

  /** The last line of the open paragraph is the head of a table, if it has columns. */
  function tabled() {
    const { text, ...more } = open;
    const at = text.lastIndexOf("\n") + 1;
    if (!text.includes("|", at)) return;
    if (at > 0) out.push({ ...more, text: text.slice(0, at - 1) });
    open = { kind: "table", text: text.slice(at) };
  }

  function line(text) {
    if (code !== null) return codeLine(text);
    if (withinItem(text)) return undefined;
    if (blank(text)) {
      joined = false;
      return finish();
    }
    if (starting(text)) return undefined;
    if (open?.kind === "para" && text.includes("|") && DELIMITER.test(text)) tabled();
    else if (open?.kind !== "para" && !(open?.kind === "table" && text.includes("|"))) return begin("para", text);
    open.text += `\n${text}`;
    return undefined;
  }

  /** What is open was cut because it is long; a table goes on with its rows, a paragraph with its words. */
  function bound() {
    if (code !== null) {
      while (pending.length > BLOCK_MAX) {
        const cut = cutAt(pending, BLOCK_MAX);
        out.push({ kind: "line", text: pending.slice(0, cut) });
        pending = pending.slice(cut);
      }
      return;
    }
    if (open !== null && open.text.length > BLOCK_MAX && !open.fence) {
      const { kind } = open;
      finish();
      joined = kind === "table" || kind === "para";
      if (kind === "table") open = { kind, text: "", joined: true };
    }
    while (pending.length > BLOCK_MAX) {
      const cut = cutAt(pending, BLOCK_MAX);
      finish();
      out.push({ kind: "para", text: pending.slice(0, cut), ...(joined ? { joined } : {}) });
      pending = pending.slice(cut);
      joined = true;
    }
  }

  const taken = () => {
    const blocks = out;
    out = [];
    return blocks;
  };

  return {
    push(text) {
      const lines = (pending + text).split("\n");
      const begun = lines.pop();
      for (const whole of lines) {
        pending = whole.endsWith("\r") ? whole.slice(0, -1) : whole;
        bound(); // a long line is cut before anything is looked for in it
        const last = pending;
        pending = "";
        line(last);
        bound();
      }
      pending = begun;
      bound();
      return taken();
    },
    end() {
      if (pending !== "") line(pending);
      pending = "";
      finish();
      if (code !== null) out.push({ kind: "close" });
      code = null;
      return taken();
    },
    get rest() {
      return open === null ? pending : `${open.text}\n${pending}`;
    },
  };
}
