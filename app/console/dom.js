// Nodes made by hand: every text becomes a text node, and nothing is ever handed to an HTML parser.

const SVG = "http://www.w3.org/2000/svg";

function attribute(node, name, value) {
  if (value === false || value === null || value === undefined) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : String(value));
}

function set(node, name, value) {
  if (name === "class") attribute(node, "class", value);
  else if (name === "dataset") Object.assign(node.dataset, value);
  else if (name === "style") Object.assign(node.style, value); // by property: the policy of the page forbids the attribute
  else if (/^on/.test(name)) node.addEventListener(name.slice(2).toLowerCase(), value);
  else if (name === "value" || name === "checked") node[name] = value;
  else attribute(node, name, value);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) set(node, name, value);
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An element: el("button", {id, class, dataset: {run}, "aria-label", onclick: fn, hidden: true}, "text", node, [nodes]). */
export const el = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** The same in SVG. */
export const svg = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

export const byId = (id) => document.getElementById(id);

/** The node's text, written only when it differs. */
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A data attribute, written only when it differs. */
export function mark(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

/** An attribute, written only when it differs. */
export function attr(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** The node's children, all new. */
export function replace(node, ...children) {
  node.replaceChildren();
  return fill(node, null, children);
}
