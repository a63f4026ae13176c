// Asks about the drawing as it is, again whenever it has changed, one question at a time.

import { guess } from "./api.js";

const PAUSE = 100; // ms between two questions while a stroke is being drawn; its end does not wait

// Fires "guess" with `guesses` ([[label, probability], …], likeliest first; [] of an empty paper), and "failure" with
// the `failure` of a question, after which it waits for `again()` or for the drawing to change.
export class Guesser extends EventTarget {
  #board;
  #drawn = 0; // changes of the drawing so far
  #guessed = 0; // of these, those that the last answer knows of
  #papers = 0; // clean papers so far: an answer about an earlier one is for nobody
  #asking = false;
  #urgent = false; // a stroke has ended
  #earliest = 0; // when the next question may be asked, in ms
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

  // Whether the last answer is not of the drawing as it is.
  get behind() {
    return this.#guessed !== this.#drawn;
  }

  // Ask the question that failed again, after some seconds.
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
