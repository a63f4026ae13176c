// The drawing board: strokes by pointer (mouse, finger, pen) and by keyboard.

export const SIDE = 1000; // width and height in units, independent of the size on the screen

const PEN = 7; // width of a line in units
const STEP = 25; // units that an arrow key moves the pen; SMALL with Shift
const SMALL = 5;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// Fires "draw" when a stroke grows, "stroke" when a stroke ends, "change" when strokes are removed, and "pen" when the
// keyboard's pen is put down or lifted.
export class Board extends EventTarget {
  strokes = []; // each [xs, ys], 0 to SIDE, in full precision
  penIsDown = false;
  #canvas;
  #context;
  #cursor;
  #position = [SIDE / 2, SIDE / 2]; // the keyboard's pen
  #keys = new Set();
  #pointer = null; // id of the pointer that draws; other fingers, and the palm beside a pen, are ignored
  #locked = false;

  constructor(canvas, cursor) {
    super();
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#cursor = cursor;
    canvas.addEventListener("pointerdown", (e) => this.#down(e));
    canvas.addEventListener("pointermove", (e) => this.#move(e));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(end, (e) => e.pointerId === this.#pointer && this.#up());
    }
    canvas.addEventListener("keydown", (e) => this.#key(e));
    canvas.addEventListener("keyup", (e) => this.#keys.delete(e.key));
    canvas.addEventListener("focus", () => this.#showCursor());
    canvas.addEventListener("blur", () => this.#blur());
    new ResizeObserver(() => this.#redraw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#redraw());
  }

  get locked() {
    return this.#locked;
  }

  // A locked board accepts no strokes; locking ends the current one.
  set locked(locked) {
    this.#locked = locked;
    if (locked) this.#up();
  }

  undo() {
    this.#replace(this.strokes.slice(0, -1));
  }

  clear() {
    this.#replace([]);
  }

  #replace(strokes) {
    this.#up();
    this.strokes = strokes;
    this.#redraw();
    this.#fire("change");
  }

  #fire(name) {
    this.dispatchEvent(new Event(name));
  }

  // ---- pointers ----

  #down(event) {
    if (this.#pointer !== null || this.#locked || event.button !== 0) return;
    this.#lift();
    this.#canvas.setPointerCapture(event.pointerId); // so that the stroke continues when the pen leaves the board
    this.#pointer = event.pointerId;
    this.strokes.push([[], []]);
    this.#addPointers([event]);
    this.#cursor.hidden = true;
  }

  #move(event) {
    if (event.pointerId !== this.#pointer) return;
    if (event.buttons === 0) {
      this.#up(); // it was released without an event
      return;
    }
    // A pen is faster than the screen's 60 frames per second; all its points since the last frame are in one event.
    const events = event.getCoalescedEvents?.() ?? [];
    this.#addPointers(events.length ? events : [event]);
  }

  #addPointers(events) {
    const paper = this.#canvas.getBoundingClientRect(); // in fractional pixels, like the events' coordinates
    for (const event of events) {
      this.#add(((event.clientX - paper.left) / paper.width) * SIDE, ((event.clientY - paper.top) / paper.height) * SIDE);
    }
    this.#fire("draw");
  }

  #up() {
    this.#lift();
    if (this.#pointer === null) return;
    this.#pointer = null;
    this.#fire("stroke");
  }

  // ---- keyboard ----

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.#locked) return;
    if (event.key === " " || event.key === "Enter") {
      if (!event.repeat) this.#toggle();
    } else if (event.key === "Escape" && this.penIsDown) {
      this.#lift();
    } else if (event.key in ARROWS) {
      this.#keys.add(event.key); // two keys at once move diagonally
      this.#walk(event.shiftKey ? SMALL : STEP);
    } else {
      return;
    }
    event.preventDefault();
    this.#showCursor();
  }

  #toggle() {
    if (this.penIsDown) {
      this.#lift();
    } else if (this.#pointer === null) {
      this.penIsDown = true;
      this.strokes.push([[], []]);
      this.#add(...this.#position);
      this.#fire("pen");
      this.#fire("draw");
    }
  }

  #walk(step) {
    for (const key of this.#keys) {
      const [dx, dy] = ARROWS[key];
      this.#position = [onPaper(this.#position[0] + dx * step), onPaper(this.#position[1] + dy * step)];
    }
    if (!this.penIsDown) return;
    this.#add(...this.#position);
    this.#fire("draw");
  }

  #lift() {
    if (!this.penIsDown) return;
    this.penIsDown = false;
    this.#fire("pen");
    this.#fire("stroke");
  }

  #blur() {
    this.#keys.clear();
    this.#lift();
    this.#cursor.hidden = true;
  }

  #showCursor() {
    this.#cursor.hidden = !this.#canvas.matches(":focus-visible");
    this.#cursor.classList.toggle("down", this.penIsDown);
    this.#cursor.style.left = `${(this.#position[0] / SIDE) * 100}%`;
    this.#cursor.style.top = `${(this.#position[1] / SIDE) * 100}%`;
  }

  // ---- ink ----

  #add(x, y) {
    const [xs, ys] = this.strokes.at(-1);
    [x, y] = [onPaper(x), onPaper(y)];
    if (xs.at(-1) === x && ys.at(-1) === y) return;
    xs.push(x);
    ys.push(y);
    this.#line(xs.slice(-2), ys.slice(-2));
  }

  #line(xs, ys) {
    this.#context.beginPath();
    this.#context.moveTo(xs[0], ys[0]);
    xs.forEach((x, i) => this.#context.lineTo(x, ys[i]));
    this.#context.stroke();
  }

  #redraw() {
    const pixels = Math.round(this.#canvas.clientWidth * devicePixelRatio);
    this.#canvas.width = this.#canvas.height = pixels; // also clears the canvas
    Object.assign(this.#context, { lineWidth: PEN, lineCap: "round", lineJoin: "round" });
    this.#context.strokeStyle = getComputedStyle(this.#canvas).color;
    this.#context.setTransform(pixels / SIDE, 0, 0, pixels / SIDE, 0, 0);
    for (const [xs, ys] of this.strokes) this.#line(xs, ys);
  }
}

function onPaper(v) {
  return Math.min(Math.max(v, 0), SIDE);
}
