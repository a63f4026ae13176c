// Elements that show guesses and drawings.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = 0.06; // around a picture, relative to the drawing's size
const PEN = 0.02; // width of a line, relative to the picture's

// Create an element with attributes and children (elements or text).
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Create a picture of a drawing, [[xs, ys], …] in any unit, scaled to fill the picture.
export function picture(drawing, name) {
  const [xs, ys] = [0, 1].map((axis) => drawing.flatMap((stroke) => stroke[axis]));
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const ink = Math.max(right - left, bottom - top) || 1;
  const side = ink * (1 + 2 * MARGIN);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `${(left + right - side) / 2} ${(top + bottom - side) / 2} ${side} ${side}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", name);
  for (const [xs, ys] of drawing) {
    const line = document.createElementNS(SVG, "polyline");
    const points = xs.map((x, i) => `${x},${ys[i]}`);
    line.setAttribute("points", (points.length > 1 ? points : [points[0], points[0]]).join(" "));
    line.setAttribute("stroke-width", side * PEN);
    svg.append(line);
  }
  return svg;
}

export function percent(probability) {
  return `${(100 * probability).toFixed(probability < 0.1 ? 1 : 0)} %`;
}

// Show guesses, [[label, probability], …], as bars in `list`; highlight the class `target`, if there is one.
export function showBars(list, guesses, target = null) {
  while (list.children.length > guesses.length) list.lastChild.remove();
  guesses.forEach(([label, probability], i) => {
    const item = list.children[i] ?? list.appendChild(bar());
    const [name, fill, share] = item.children;
    name.textContent = label;
    fill.style.setProperty("--share", probability);
    share.textContent = percent(probability);
    item.classList.toggle("wanted", label === target);
  });
}

function bar() {
  return element("li", {}, element("span", { class: "label" }), element("span", { class: "bar" }), element("span", {}));
}

// Offer a file for download.
export function download(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
