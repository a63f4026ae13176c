"use strict";

// ---- the confusion matrix: an image with one pixel per cell, scaled to the view ----

const matrix = (() => {
  const { classes, cells } = JSON.parse(document.getElementById("confusion").textContent);
  const count = classes.length, counts = new Map(), totals = new Array(count).fill(0);
  for (const [row, column, n] of cells) {
    counts.set(row * count + column, n);
    totals[row] += n;
  }
  const box = document.getElementById("matrix"), canvas = box.querySelector("canvas"), status = box.querySelector("output");
  const context = canvas.getContext("2d"), pixels = document.createElement("canvas");
  const fontSize = 11, longest = Math.max(...classes.map((name) => name.length));
  let size = 0, gutter = 0; // pixels: the matrix, and the margin for class names
  let view = { left: 0, top: 0, shown: count }; // in cells: the first column and row, and how many are shown
  let marked = null;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function paint() {
    pixels.width = pixels.height = count;
    const target = pixels.getContext("2d"), image = target.createImageData(count, count);
    const rgb = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
    const correct = rgb(colour("--correct")), wrong = rgb(colour("--wrong"));
    for (const [row, column, n] of cells) {
      image.data.set([...(row === column ? correct : wrong), 255 * (0.12 + 0.88 * Math.sqrt(n / totals[row]))], 4 * (row * count + column));
    }
    target.putImageData(image, 0, 0);
  }

  function draw() {
    const width = canvas.clientWidth, density = window.devicePixelRatio || 1;
    gutter = Math.min(width * 0.28, 12 + longest * fontSize * 0.58);
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
    drawNames(cell);
    context.beginPath(); // clip cells at the edge
    context.rect(gutter, gutter, size, size);
    context.clip();
    if (cell >= 26) drawCounts(cell);
    if (marked) {
      context.strokeStyle = colour("--ink");
      context.lineWidth = 2;
      context.strokeRect(gutter + (marked[1] - view.left) * cell, gutter + (marked[0] - view.top) * cell, cell, cell);
    }
  }

  function drawNames(cell) {
    const every = Math.ceil((fontSize + 2) / cell);
    context.fillStyle = colour("--ink");
    context.font = `${fontSize}px system-ui, sans-serif`;
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

  function drawCounts(cell) {
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

  function setView(left, top, shown) {
    const clamp = (first) => Math.min(Math.max(0, first), count - shown);
    view = { left: clamp(left), top: clamp(top), shown };
    canvas.style.touchAction = shown < count ? "none" : "pan-y";
    requestAnimationFrame(draw);
  }

  function zoom(factor, x = 0.5, y = 0.5) { // about a point of the view; factor 0 shows everything
    const shown = factor ? Math.min(count, Math.max(4, view.shown / factor)) : count;
    setView(view.left + x * (view.shown - shown), view.top + y * (view.shown - shown), shown);
  }

  const position = (event) => { // of a pointer in the view, 0 to 1
    const bounds = canvas.getBoundingClientRect();
    return [(event.clientX - bounds.left - gutter) / size, (event.clientY - bounds.top - gutter) / size];
  };

  function describe(row, column) {
    const n = counts.get(row * count + column) || 0, total = totals[row];
    const percent = total ? ` (${(100 * n / total).toFixed(1)} %)` : "";
    status.textContent = `${classes[row]} predicted as ${classes[column]}: ${n} of ${total}${percent}`;
  }

  function mark(row, column) {
    marked = [row, column];
    const shown = Math.min(view.shown, 24);
    describe(row, column);
    setView(column + 0.5 - shown / 2, row + 0.5 - shown / 2, shown);
  }

  const pointers = new Map(); // those that are down, by id
  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, position(event));
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = position(event), before = pointers.get(event.pointerId);
    if (!before) {
      if (x >= 0 && y >= 0 && x < 1 && y < 1) describe(Math.floor(view.top + y * view.shown), Math.floor(view.left + x * view.shown));
      return;
    }
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    pointers.set(event.pointerId, [x, y]);
    if (other) {
      const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
      zoom(distance([x, y], other) / Math.max(distance(before, other), 0.01), (x + other[0]) / 2, (y + other[1]) / 2);
    } else {
      setView(view.left - (x - before[0]) * view.shown, view.top - (y - before[1]) * view.shown, view.shown);
    }
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // scroll the page
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), ...position(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = view.shown / 8;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const factors = { "+": 1.6, "=": 1.6, "-": 0.625, "0": 0 };
    if (event.key in moves) setView(view.left + moves[event.key][0], view.top + moves[event.key][1], view.shown);
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

  const repaint = () => { paint(); draw(); };
  new ResizeObserver(draw).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  setView(0, 0, count);
  repaint();
  return { show: (actual, predicted) => mark(classes.indexOf(actual), classes.indexOf(predicted)), box };
})();

for (const button of document.querySelectorAll("[data-actual]")) {
  button.addEventListener("click", () => {
    matrix.show(button.dataset.actual, button.dataset.predicted);
    matrix.box.scrollIntoView();
  });
}

// ---- tables are sorted by a click on a heading ----

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
