// Requests guesses for the current drawing whenever it changes, one request at a time.

import { guess } from "./api.js";

const PAUSE = 100; // ms between requests while a stroke is being drawn; the end of a stroke does not wait

// Fires "guess" with `guesses` ([[label, probability], …], most probable first; [] for an empty board), and "failure"
// with the `failure` of a request, after which it waits for `again()` or for a change of the drawing.
export class Guesser extends EventTarget {
  #board;
  #drawn = 0; // number of changes of the drawing
  #guessed = 0; // value of #drawn that the last response is about
  #papers = 0; // number of times strokes were removed; responses to earlier requests are ignored
  #asking = false;
  #urgent = false; // a stroke has ended
  #earliest = 0; // time of the next request, in ms
  #timer = null;

  constructor(board) {
    super();
    this.#board = board;
    board.addEventListener("draw", () => this.#changed());
    board.addEventListener("stroke", () => {
      this.#urgent = true;
      this.#changed();
    });
    board.addEventListener("change", () => {
      this.#papers++;
      this.#urgent = true;
      this.#changed();
    });
  }

  // Whether the last response is about an earlier state of the drawing.
  get behind() {
    return this.#guessed !== this.#drawn;
  }

  // Repeat the failed request after some seconds.
  again(seconds = 0) {
    this.#urgent = false;
    this.#earliest = performance.now() + 1000 * seconds;
    this.#next();
  }

  #changed() {
    this.#drawn++;
    if (this.#board.strokes.length === 0) {
      this.#guessed = this.#drawn;
      this.#fire("guess", { guesses: [] });
    } else {
      this.#next();
    }
  }

  #next() {
    clearTimeout(this.#timer);
    if (this.#asking || !this.behind) return;
    const wait = this.#urgent ? 0 : this.#earliest - performance.now();
    if (wait > 0) this.#timer = setTimeout(() => this.#next(), wait);
    else this.#ask();
  }

  async #ask() {
    this.#asking = true;
    this.#urgent = false;
    this.#earliest = performance.now() + PAUSE;
    const [drawn, papers] = [this.#drawn, this.#papers];
    try {
      const { guesses } = await guess(this.#board.strokes);
      this.#asking = false;
      if (papers === this.#papers) {
        this.#guessed = drawn;
        this.#fire("guess", { guesses });
      }
      this.#next();
    } catch (failure) {
      this.#asking = false;
      this.#fire("failure", { failure });
    }
  }

  #fire(name, values) {
    this.dispatchEvent(Object.assign(new Event(name), values));
  }
}
