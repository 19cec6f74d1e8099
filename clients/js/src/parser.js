// Server-Sent Events from bytes that the network may cut anywhere; LF, CRLF and CR end a line, comments are nothing.

const LINE_END = /\r\n|\n|\r/g;

export class TooLarge extends Error {}

/** Returns feed(bytes), which calls onEvent(name, id, data) for every whole event; a cut one is never delivered. */
export function createParser(onEvent, most = 4 << 20) {
  const decoder = new TextDecoder(); // takes a byte order mark away
  let rest = "";
  let afterCr = false;
  let name = "";
  let id = "";
  let data = [];
  let size = 0;

  function line(text) {
    if (text === "") {
      if (data.length > 0) onEvent(name || "message", id, data.join("\n"));
      name = "";
      data = [];
      size = 0;
      return;
    }
    const colon = text.indexOf(":");
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(text[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") {
      size += value.length + 1;
      data.push(value);
    } else if (field === "event") name = value;
    else if (field === "id" && !value.includes("\0")) id = value;
  }

  return function feed(bytes) {
    let text = decoder.decode(bytes, { stream: true });
    if (text === "") return;
    if (afterCr && text[0] === "\n") text = text.slice(1);
    afterCr = text.endsWith("\r");
    let from = 0;
    // Only what is new is searched, so that a long line in small pieces costs no more than in one.
    for (const end of text.matchAll(LINE_END)) {
      line(rest + text.slice(from, end.index));
      rest = "";
      from = end.index + end[0].length;
      if (size > most) throw new TooLarge();
    }
    rest += text.slice(from);
    if (size + rest.length > most) throw new TooLarge();
  };
}
