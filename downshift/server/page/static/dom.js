// Making elements, of HTML and of SVG.
const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function shape(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Runs `draw(width, height)` when the element gets another size.
export function whenSized(target, draw) {
  new ResizeObserver(() => draw(target.clientWidth, target.clientHeight)).observe(target);
}
