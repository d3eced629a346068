// Several pictures in a row, each with what was said of it, to choose from.

import { summary } from "./answer.js";
import { make, view } from "./dom.js";

const NO_ANSWER_YET = "…";

/** Show the pictures, where there is more than one; `onChoose` gets the place of the one that is pressed. */
export function fillStrip(pictures, onChoose) {
  view.strip.hidden = pictures.length < 2;
  const items = view.strip.hidden ? [] : pictures;
  view.strip.replaceChildren(...items.map((picture, place) => make("li", "", thumbnail(picture, () => onChoose(place)))));
}

/** Renew what stands under each picture. */
export function showCaptions(pictures, chosen) {
  [...view.strip.children].forEach((item, place) => {
    const { answer } = pictures[place];
    const button = item.firstElementChild;
    button.setAttribute("aria-current", String(place === chosen));
    button.classList.toggle("failed", Boolean(answer?.problem));
    button.lastElementChild.textContent = answer ? summary(answer) : NO_ANSWER_YET;
  });
}

function thumbnail({ name, shown }, onPress) {
  const image = make("img");
  Object.assign(image, { src: shown, alt: name, width: 64, height: 64 });
  image.addEventListener("error", () => image.classList.add("broken"));
  const button = make("button", "thumb", image, make("span", "", NO_ANSWER_YET));
  Object.assign(button, { type: "button", title: name });
  button.addEventListener("click", onPress);
  return button;
}
