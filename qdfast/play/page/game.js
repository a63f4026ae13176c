// The game: a word, 20 seconds, and the model guesses until it is right.

import { element } from "./pictures.js";

const SECONDS = 20;
const SURE = 0.5; // probability for success; even a dot has a small probability for every class
const GRACE = 1200; // ms to read the outcome

const $ = (id) => document.getElementById(id);

// Play one round for each word. `trouble.active` stops the clock. Resolves to the rounds in order, each
// {word, drawing, guesses, recognized, seconds}, without those in which nothing was drawn.
export async function play(words, board, guesser, trouble) {
  const rounds = [];
  for (const [i, word] of words.entries()) {
    board.clear();
    if ((await cardClosed(word, i, words.length)) === "end") break;
    const round = await playRound(word, board, guesser, trouble);
    rounds.push(round);
    if (round.ended) break;
  }
  board.locked = false;
  return rounds.filter((round) => round.drawing.length);
}

function cardClosed(word, i, of) {
  $("card-count").textContent = of > 1 ? `Drawing ${i + 1} of ${of}` : "";
  $("card-word").textContent = word;
  $("says").textContent = "";
  $("clock").textContent = SECONDS;
  $("asked").replaceChildren("Draw ", element("strong", {}, word));
  $("card").returnValue = "end"; // the value for Escape
  $("card").showModal();
  return new Promise((done) => $("card").addEventListener("close", () => done($("card").returnValue), { once: true }));
}

async function playRound(word, board, guesser, trouble) {
  const round = { word, drawing: [], guesses: [], recognized: false, seconds: SECONDS, ended: false };
  const over = new AbortController(); // removes all listeners of this round
  const { signal } = over;
  $("says").textContent = "…";
  board.locked = false;
  $("canvas").focus({ preventScroll: true });
  await new Promise((done) => {
    let left = 1000 * SECONDS;
    let before = performance.now();
    const clock = setInterval(() => {
      const now = performance.now();
      if (!trouble.active) left -= now - before;
      before = now;
      $("clock").textContent = Math.max(0, Math.ceil(left / 1000));
      if (left <= 0) done();
    }, 100);
    signal.addEventListener("abort", () => clearInterval(clock));
    const called = new Set();
    guesser.addEventListener(
      "guess",
      ({ guesses }) => {
        if (!guesses.length) return;
        round.guesses = guesses;
        const [label, probability] = guesses[0];
        if (label === word && probability >= SURE) {
          round.recognized = true;
          round.seconds = SECONDS - Math.max(0, left) / 1000;
          done();
        } else if (label !== word && !called.has(label)) {
          $("says").textContent = called.size ? `… or ${label}` : `I see ${label}`;
          called.add(label);
        }
      },
      { signal },
    );
    $("skip").addEventListener("click", done, { signal });
    $("end").addEventListener("click", () => done((round.ended = true)), { signal });
  });
  over.abort();
  board.locked = true;
  round.drawing = board.strokes;
  $("says").textContent = round.recognized ? `Oh, I know: it’s ${word}!` : `Sorry, I did not see ${word} in it.`;
  if (!round.ended) await new Promise((done) => setTimeout(done, GRACE));
  return round;
}
