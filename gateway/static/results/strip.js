// The list of several pictures, each with its class, its score and whether the model is sure. The arrow keys move in it.

import { isUnsure, summary } from "../answer.js";
import { make, percent, view } from "../dom.js";
import { state } from "../state.js";
import { sorted } from "./order.js";

const NO_ANSWER_YET = "…";
const COMMA = ", ";
const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
const items = new Map(); // of the list, by picture

function fill() {
  const pictures = state.pictures.length > 1 ? state.pictures : [];
  view.strip.hidden = !pictures.length;
  items.clear();
  for (const picture of pictures) items.set(picture, make("li", "", thumbnail(picture)));
  arrange();
  showCaptions();
}

/** Put the pictures into the chosen order; an element that keeps its place keeps the focus. */
function arrange() {
  const ordered = sorted([...items.keys()], view.order.value).map((picture) => items.get(picture));
  if (ordered.some((item, index) => item !== view.strip.children[index])) {
    const focused = document.activeElement;
    view.strip.replaceChildren(...ordered);
    if (view.strip.contains(focused)) focused.focus();
  }
}

function showCaptions() {
  for (const [picture, item] of items) {
    const { answer, name } = picture;
    const button = item.firstElementChild;
    const isSelected = picture === state.picture;
    button.setAttribute("aria-current", String(isSelected));
    button.tabIndex = isSelected ? 0 : -1;
    button.classList.toggle("failed", Boolean(answer?.problem));
    button.classList.toggle("unsure", Boolean(answer?.result && isUnsure(answer.result)));
    button.title = answer ? `${name}: ${summary(answer)}` : name;
    button.lastElementChild.replaceChildren(...caption(answer));
  }
}

/** The class, which may be cut off, and below it what may not: the score, and whether there is doubt. */
function caption(answer) {
  if (!answer) return [NO_ANSWER_YET];
  const { problem, result } = answer;
  if (problem) return [make("b", "", "problem"), " ", make("span", "name", problem.message)];
  if (result.classes) return [make("span", "name", result.classes.map((item) => item.class).join(COMMA) || "none of the classes")];
  const doubt = isUnsure(result) ? [" ", make("b", "", "not sure")] : [];
  return [make("span", "name", result.class), " ", make("span", "score", percent(result.score)), ...doubt];
}

function thumbnail(picture) {
  const { name, objectUrl } = picture;
  const image = make("img");
  Object.assign(image, { src: objectUrl, alt: name, width: 64, height: 64 });
  image.addEventListener("error", () => image.classList.add("broken"));
  const button = make("button", "thumb", image, make("span", "text"));
  button.type = "button";
  button.addEventListener("click", () => state.change("selection", { selected: state.pictures.indexOf(picture) }));
  return button;
}

function move(event) {
  const step = STEPS[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
  const buttons = [...view.strip.querySelectorAll("button")];
  const target = buttons.indexOf(document.activeElement) + step;
  const button = buttons[Math.max(0, Math.min(target, buttons.length - 1))];
  event.preventDefault();
  button.click();
  button.focus();
}

view.strip.addEventListener("keydown", move);
view.order.addEventListener("change", arrange);
state.on("pictures", fill);
state.on("selection", showCaptions);
state.on("answers", () => {
  showCaptions();
  arrange();
});
