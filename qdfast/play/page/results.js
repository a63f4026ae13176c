// The results of a game: the drawings, what else they looked like, and how others drew the same.

import { drawings } from "./api.js";
import { element, picture, showBars } from "./pictures.js";

const OTHERS = 3; // number of similar classes to show, with a drawing of each

const $ = (id) => document.getElementById(id);

// Show the rounds that were played, and details of the first.
export function showResults(rounds) {
  const known = rounds.filter((round) => round.recognized).length;
  $("score").textContent = rounds.length
    ? `The model knew ${known} of ${rounds.length} ${rounds.length === 1 ? "drawing" : "drawings"}`
    : "Nothing was drawn";
  $("rounds").replaceChildren(...rounds.map(tile));
  $("round").replaceChildren();
  $("rounds").hidden = rounds.length < 2;
  $("save-all").hidden = !rounds.length;
  if (rounds.length) show(rounds[0], $("rounds").firstChild);
  $("score").focus();
}

function tile(round) {
  const mark = round.recognized ? "✓" : "✗";
  const name = `${round.word}: ${round.recognized ? "known" : "not known"}`;
  const button = element("button", { type: "button", "aria-label": name, "aria-pressed": "false" });
  button.append(picture(round.drawing, ""), element("span", {}, `${mark} ${round.word}`));
  button.classList.toggle("known", round.recognized);
  button.addEventListener("click", () => show(round, button));
  return button;
}

function show(round, button) {
  for (const other of $("rounds").children) other.setAttribute("aria-pressed", String(other === button));
  const said = round.recognized
    ? `The model knew it after ${round.seconds.toFixed(1)} s.`
    : "The model did not know it.";
  const bars = element("ol", { class: "bars" });
  showBars(bars, round.guesses, round.word);
  const others = round.guesses.map(([label]) => label).filter((label) => label !== round.word).slice(0, OTHERS);
  $("round").replaceChildren(
    element("h3", {}, `You were asked to draw ${round.word}`),
    element("p", {}, said),
    element("div", { class: "yours" }, picture(round.drawing, `Your drawing of ${round.word}`), bars),
    ...shown(`How others draw ${round.word}`, [round.word]),
    ...shown("What else it looked like", others, 1),
  );
}

// A heading and drawings of the classes, shown once all have been loaded; hidden if there are none.
function shown(title, classes, count = Infinity) {
  const heading = element("h3", { hidden: "" }, title);
  const row = element("div", { class: "drawings" });
  Promise.all(classes.map(drawings)).then(
    (answers) => {
      answers.forEach(({ drawings, kind }, i) => {
        if (drawings.length) heading.hidden = false;
        if (kind === "procedural" && count > 1) heading.textContent = `Some procedural doodles of ${classes[i]}`;
        for (const drawing of drawings.slice(0, count)) {
          const caption = count === 1 ? [element("figcaption", {}, classes[i])] : [];
          row.append(element("figure", {}, picture(drawing, classes[i]), ...caption));
        }
      });
    },
    () => {}, // show nothing
  );
  return [heading, row];
}
