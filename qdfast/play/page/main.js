// The page: the board, the guesses, the game, and the handling of an unavailable server.

import { Board } from "./board.js";
import * as api from "./api.js";
import { play } from "./game.js";
import { Guesser } from "./guesser.js";
import { download, showBars } from "./pictures.js";
import { showResults } from "./results.js";

const ROUNDS = 6;
const POLL = 1000; // ms between checks whether the server is back

const $ = (id) => document.getElementById(id);
const board = new Board($("canvas"), $("pen"));
const guesser = new Guesser(board);

let words = [];
let rounds = []; // the rounds of the last game
let playing = false;

// ---- guesses ----

// aria-busy of `#guesses` says whether the guesses are outdated.
for (const name of ["draw", "stroke", "change"]) {
  board.addEventListener(name, () => $("guesses").setAttribute("aria-busy", String(guesser.behind)));
}

guesser.addEventListener("guess", ({ guesses }) => {
  showBars($("guesses"), guesses);
  $("guesses").setAttribute("aria-busy", String(guesser.behind));
  if (!playing) say(guesses.length ? `I see ${guesses[0][0]}` : "");
});

guesser.addEventListener("failure", ({ failure }) => {
  if (failure.status === 429) guesser.again(failure.wait ?? 1);
  else if (failure.retryable) trouble.begin(failure);
  else say(failure.message);
});

function say(text) {
  if ($("says").textContent !== text) $("says").textContent = text; // else it is read aloud again
}

// ---- an unavailable server ----

const trouble = {
  active: false,

  async begin(failure) {
    $("trouble").textContent = `No guesses at the moment: ${failure.message}. Trying again …`;
    $("trouble").hidden = false;
    if (this.active) return;
    this.active = true;
    while (!(await greet())) await new Promise((done) => setTimeout(done, POLL));
    this.active = false;
    $("trouble").hidden = true;
    guesser.again();
  },
};

// Load the model's name and words; return whether the model's server answered.
async function greet() {
  try {
    const found = await api.model();
    words = found.words;
    $("model").textContent = `${found.model}, version ${found.version}` + (words.length ? `, ${words.length} words` : "");
    $("words").replaceChildren(...words.map((word) => Object.assign(document.createElement("option"), { value: word })));
    $("no-game").hidden = words.length > 0;
    $("six").disabled = $("one").disabled = words.length === 0;
    return true;
  } catch (failure) {
    trouble.begin(failure);
    return false;
  }
}

// ---- the game ----

async function startGame(count) {
  show("drawing", true);
  rounds = await play(chosen(words, count), board, guesser, trouble);
  show("results");
  showResults(rounds);
}

// Show one of two views, "drawing" (in a game or free) or "results".
function show(view, game = false) {
  playing = game;
  for (const id of ["drawing", "results"]) $(id).hidden = id !== view;
  for (const part of document.querySelectorAll(".while-playing")) part.hidden = !game;
  for (const part of document.querySelectorAll(".while-free")) part.hidden = game;
  $("clock").hidden = !game;
  $("no-game").hidden ||= words.length > 0;
  $("asked").textContent = "Draw something";
  board.clear();
  say("");
  scrollTo(0, 0);
}

function chosen(all, count) {
  const left = [...all];
  return Array.from({ length: Math.min(count, left.length) }, () => {
    return left.splice(Math.floor(Math.random() * left.length), 1)[0];
  });
}

// ---- saving ----

// Save drawings, [{word, drawing, recognized}, …]; `recognized` may be missing.
async function save(drawings) {
  const names = new Set(drawings.map(({ word }) => word));
  try {
    const lines = await api.ndjson(drawings.map(({ word, drawing, recognized }) => ({ word, drawing, recognized })));
    download(lines, `${names.size === 1 ? [...names][0] || "drawing" : "drawings"}.ndjson`);
  } catch (failure) {
    $("trouble").textContent = `Not saved: ${failure.message}`;
    $("trouble").hidden = false;
  }
}

// ---- buttons ----

function on(id, action) {
  $(id).addEventListener("click", action);
}

on("undo", () => board.locked || board.undo());
on("clear", () => board.locked || board.clear());
on("save", () => save(board.strokes.length ? [{ word: $("what").value.trim(), drawing: board.strokes }] : []));
on("six", () => startGame(ROUNDS));
on("one", () => startGame(1));
on("again", () => startGame(rounds.length > 1 ? ROUNDS : 1));
on("free", () => show("drawing"));
on("save-all", () => save(rounds));

addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && event.target.tagName !== "INPUT" && !board.locked) {
    event.preventDefault();
    board.undo();
  }
});
board.addEventListener("pen", () => ($("pen-says").textContent = board.penIsDown ? "Pen down" : "Pen up"));

show("drawing");
greet();
