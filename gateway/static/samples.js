// Sample pictures, drawn for this page; each is shown if the model has a class of that name.

import { make } from "./dom.js";

const SIDE = 320; // pixels
const SAMPLES = {
  airplane: "airplane",
  automobile: "automobile",
  frog: "frog",
  horse: "horse",
  ship: "ship",
  truck: "truck",
  3: "three",
  6: "six",
  7: "seven",
};

/** Create the sample buttons; `onChoose` receives the file name and the PNG of the sample. */
export function sampleButtons(labels, onChoose) {
  const samples = Object.entries(SAMPLES).filter(([label]) => labels.includes(label));
  return samples.map(([label, name]) => {
    const image = make("img");
    Object.assign(image, { src: `static/samples/${name}.svg`, alt: `Sample: ${label}`, width: 56, height: 56 });
    const button = make("button", "thumb", image);
    button.type = "button";
    button.addEventListener("click", async () => onChoose(`${name}.png`, await pngOf(image)));
    return button;
  });
}

/** The service does not accept SVG. */
async function pngOf(image) {
  await image.decode();
  const canvas = make("canvas");
  canvas.width = canvas.height = SIDE;
  canvas.getContext("2d").drawImage(image, 0, 0, SIDE, SIDE);
  return new Promise((resolve) => canvas.toBlob(resolve));
}
