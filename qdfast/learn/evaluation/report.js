"use strict";

// ---- the confusion matrix: one pixel a cell, enlarged as the view says ----

const matrix = (() => {
  const { classes, cells } = JSON.parse(document.getElementById("confusion").textContent);
  const count = classes.length, counts = new Map(), totals = new Array(count).fill(0);
  for (const [row, column, n] of cells) {
    counts.set(row * count + column, n);
    totals[row] += n;
  }
  const box = document.getElementById("matrix"), canvas = box.querySelector("canvas"), said = box.querySelector("output");
  const context = canvas.getContext("2d"), pixels = document.createElement("canvas");
  const letters = 11, longest = Math.max(...classes.map((name) => name.length));
  let size = 0, gutter = 0;
  let view = { left: 0, top: 0, shown: count }; // in cells: how many are shown, of which the first
  let marked = null;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function paint() {
    pixels.width = pixels.height = count;
    const target = pixels.getContext("2d"), image = target.createImageData(count, count);
    const rgb = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
    const right = rgb(colour("--right")), wrong = rgb(colour("--wrong"));
    for (const [row, column, n] of cells) {
      image.data.set([...(row === column ? right : wrong), 255 * (0.12 + 0.88 * Math.sqrt(n / totals[row]))], 4 * (row * count + column));
    }
    target.putImageData(image, 0, 0);
  }

  function draw() {
    const width = canvas.clientWidth, density = window.devicePixelRatio || 1;
    gutter = Math.min(width * 0.28, 12 + longest * letters * 0.58);
    size = width - gutter - 4;
    canvas.style.height = `${width}px`;
    canvas.width = canvas.height = Math.round(width * density);
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, width, width);
    const cell = size / view.shown;
    context.imageSmoothingEnabled = cell < 1;
    context.drawImage(pixels, view.left, view.top, view.shown, view.shown, gutter, gutter, size, size);
    context.strokeStyle = colour("--line");
    context.strokeRect(gutter, gutter, size, size);
    names(cell);
    context.beginPath(); // what follows is of cells that may be cut by the edge
    context.rect(gutter, gutter, size, size);
    context.clip();
    if (cell >= 26) numbers(cell);
    if (marked) {
      context.strokeStyle = colour("--ink");
      context.lineWidth = 2;
      context.strokeRect(gutter + (marked[1] - view.left) * cell, gutter + (marked[0] - view.top) * cell, cell, cell);
    }
  }

  function names(cell) {
    const every = Math.ceil((letters + 2) / cell);
    context.fillStyle = colour("--ink");
    context.font = `${letters}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    for (const [first, turned] of [[view.top, false], [view.left, true]]) {
      for (let i = Math.ceil(first / every) * every; i < Math.min(first + view.shown, count); i += every) {
        const at = gutter + (i + 0.5 - first) * cell;
        if (at < gutter || at > gutter + size) continue;
        context.save();
        if (turned) {
          context.translate(at, gutter - 5);
          context.rotate(-Math.PI / 2);
          context.textAlign = "left";
        } else {
          context.translate(gutter - 5, at);
          context.textAlign = "right";
        }
        context.fillText(shortened(classes[i]), 0, 0);
        context.restore();
      }
    }
  }

  function shortened(name) {
    let text = name;
    while (text && context.measureText(text).width > gutter - 9) text = text.slice(0, -1);
    return text === name ? name : `${text.slice(0, -1)}…`;
  }

  function numbers(cell) {
    const ink = colour("--ink"), paper = colour("--paper");
    context.textAlign = "center";
    for (let row = Math.floor(view.top); row < Math.min(view.top + view.shown, count); row++) {
      for (let column = Math.floor(view.left); column < Math.min(view.left + view.shown, count); column++) {
        const n = counts.get(row * count + column);
        const x = gutter + (column + 0.5 - view.left) * cell, y = gutter + (row + 0.5 - view.top) * cell;
        context.fillStyle = row === column ? paper : ink;
        if (n) context.fillText(n, x, y);
      }
    }
  }

  function look(left, top, shown) {
    shown = Math.min(count, Math.max(Math.min(4, count), shown));
    const within = (from) => Math.min(Math.max(0, from), count - shown);
    view = { left: within(left), top: within(top), shown };
    canvas.style.touchAction = shown < count ? "none" : "pan-y";
    requestAnimationFrame(draw);
  }

  function zoom(factor, x = 0.5, y = 0.5) { // by a factor, about a point of the view
    const shown = factor ? Math.min(count, Math.max(Math.min(4, count), view.shown / factor)) : count;
    look(view.left + x * (view.shown - shown), view.top + y * (view.shown - shown), shown);
  }

  const place = (event) => { // of a pointer in the view, 0 to 1
    const bounds = canvas.getBoundingClientRect();
    return [(event.clientX - bounds.left - gutter) / size, (event.clientY - bounds.top - gutter) / size];
  };

  function say(row, column) {
    const n = counts.get(row * count + column) || 0, of = totals[row];
    const what = row === column ? `${classes[row]} taken rightly` : `${classes[row]} taken for ${classes[column]}`;
    said.textContent = `${what}: ${n} of ${of}` + (of ? ` (${(100 * n / of).toFixed(1)} %)` : "");
  }

  function mark(row, column) {
    marked = [row, column];
    const shown = Math.min(view.shown, 24);
    say(row, column);
    look(column + 0.5 - shown / 2, row + 0.5 - shown / 2, shown);
  }

  const held = new Map(); // pointers that are down
  canvas.addEventListener("pointerdown", (event) => {
    held.set(event.pointerId, place(event));
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event), before = held.get(event.pointerId);
    if (!before) {
      if (x >= 0 && y >= 0 && x < 1 && y < 1) say(Math.floor(view.top + y * view.shown), Math.floor(view.left + x * view.shown));
      return;
    }
    const other = [...held].find(([id]) => id !== event.pointerId)?.[1];
    held.set(event.pointerId, [x, y]);
    if (other) {
      const apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
      zoom(apart([x, y], other) / Math.max(apart(before, other), 0.01), (x + other[0]) / 2, (y + other[1]) / 2);
    } else {
      look(view.left - (x - before[0]) * view.shown, view.top - (y - before[1]) * view.shown, view.shown);
    }
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => held.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // it scrolls the page
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), ...place(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = view.shown / 8;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const factors = { "+": 1.6, "=": 1.6, "-": 0.625, "0": 0 };
    if (event.key in moves) look(view.left + moves[event.key][0], view.top + moves[event.key][1], view.shown);
    else if (event.key in factors && !event.ctrlKey && !event.metaKey) zoom(factors[event.key]);
    else return;
    event.preventDefault();
  });
  for (const button of box.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
  }
  box.querySelector("input").addEventListener("change", (event) => {
    const i = classes.indexOf(event.target.value);
    if (i >= 0) mark(i, i);
  });

  const again = () => { paint(); draw(); };
  new ResizeObserver(draw).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  look(0, 0, count);
  again();
  return { show: (actual, taken) => mark(classes.indexOf(actual), classes.indexOf(taken)), box };
})();

for (const button of document.querySelectorAll("[data-actual]")) {
  button.addEventListener("click", () => {
    matrix.show(button.dataset.actual, button.dataset.taken);
    matrix.box.scrollIntoView();
  });
}

// ---- tables that a click on a heading sorts ----

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  for (const [column, heading] of [...table.tHead.rows[0].cells].entries()) {
    heading.addEventListener("click", () => {
      const ascending = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const value = (row) => {
        const cell = row.cells[column];
        return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
      };
      const order = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);
      body.append(...[...body.rows].sort((a, b) => (ascending ? order(a, b) : order(b, a))));
    });
  }
}
