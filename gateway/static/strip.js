// The row of pictures to choose from, each with a summary of its answer.

import { caption, summary } from "./answer.js";
import { make, view } from "./dom.js";

const NO_ANSWER_YET = "…";

/** Show the pictures if there are several; `onChoose` receives the index of the chosen one. */
export function fillStrip(pictures, onChoose) {
  view.strip.hidden = pictures.length < 2;
  const items = view.strip.hidden ? [] : pictures;
  view.strip.replaceChildren(...items.map((picture, index) => make("li", "", thumbnail(picture, () => onChoose(index)))));
}

/** Update the caption of each picture. */
export function showCaptions(pictures, selected) {
  [...view.strip.children].forEach((item, index) => {
    const { answer, name } = pictures[index];
    const button = item.firstElementChild;
    button.setAttribute("aria-current", String(index === selected));
    button.classList.toggle("failed", Boolean(answer?.problem));
    button.title = answer ? `${name}: ${summary(answer)}` : name;
    button.lastElementChild.textContent = answer ? caption(answer).replace(" %", "\u00a0%") : NO_ANSWER_YET;
  });
}

function thumbnail({ name, objectUrl }, onClick) {
  const image = make("img");
  Object.assign(image, { src: objectUrl, alt: name, width: 64, height: 64 });
  image.addEventListener("error", () => image.classList.add("broken"));
  const button = make("button", "thumb", image, make("span", "", NO_ANSWER_YET));
  Object.assign(button, { type: "button", title: name });
  button.addEventListener("click", onClick);
  return button;
}
