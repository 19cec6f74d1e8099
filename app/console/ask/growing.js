// A plain text that grows, and a box that stays at its end.

const PART = 4000; // characters in one text node
const FAR = 1e7; // pixels: behind the end of every box

/** Shows a text in text nodes of a bounded size; tells whether something was added. */
export function createGrowing(node) {
  let shown = 0;
  return (text) => {
    if (text.length === shown) return false;
    if (text.length < shown) {
      node.replaceChildren();
      shown = 0;
    }
    while (shown < text.length) {
      const last = node.lastChild;
      const room = last === null ? 0 : PART - last.length;
      const piece = text.slice(shown, shown + (room > 0 ? room : PART));
      if (room > 0) last.appendData(piece);
      else node.append(document.createTextNode(piece));
      shown += piece.length;
    }
    return true;
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
