// Server-Sent Events read from bytes: split anywhere, LF (CRLF and CR tolerated), comments ignored.

const LINE_END = /\r\n|\n|\r/g;

/** A parser that calls onEvent({event, id, data}) for every whole event; a cut event is never delivered. */
export function createParser(onEvent) {
  const decoder = new TextDecoder();
  let rest = "";
  let afterCr = false;
  let name = "";
  let id = "";
  let data = [];

  function dispatch() {
    if (data.length > 0) onEvent({ event: name || "message", id, data: data.join("\n") });
    name = "";
    data = [];
  }

  function line(text) {
    if (text === "") return dispatch();
    const colon = text.indexOf(":");
    if (colon === 0) return undefined;
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(text[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") data.push(value);
    else if (field === "event") name = value;
    else if (field === "id" && !value.includes("\0")) id = value;
    return undefined;
  }

  function feed(bytes) {
    let text = decoder.decode(bytes, { stream: true });
    if (text === "") return;
    if (afterCr && text[0] === "\n") text = text.slice(1);
    afterCr = text === "" ? false : text.endsWith("\r");
    const whole = rest + text;
    let from = 0;
    for (const end of whole.matchAll(LINE_END)) {
      line(whole.slice(from, end.index));
      from = end.index + end[0].length;
    }
    rest = whole.slice(from);
  }

  return { feed };
}
