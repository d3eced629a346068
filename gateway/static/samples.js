// Sample pictures, drawn for this page or photos; each is shown if the model has a class of that name.

import { make, view } from "./dom.js";

const SIDE = 320; // pixels
const SAMPLES = {
  macaw: "macaw.jpg",
  lighthouse: "lighthouse.jpg",
  warplane: "warplane.jpg",
  airplane: "airplane.svg",
  automobile: "automobile.svg",
  frog: "frog.svg",
  horse: "horse.svg",
  ship: "ship.svg",
  truck: "truck.svg",
  3: "three.svg",
  6: "six.svg",
  7: "seven.svg",
};

/** Show the samples of a model with these classes; `onChoose` receives the file name and the PNG of the chosen one. */
export function showSamples(labels, onChoose) {
  const buttons = sampleButtons(labels, onChoose);
  view["sample-list"].replaceChildren(...buttons);
  view.samples.hidden = !buttons.length;
}

function sampleButtons(labels, onChoose) {
  const samples = Object.entries(SAMPLES).filter(([label]) => labels.includes(label));
  return samples.map(([label, file]) => {
    const image = make("img");
    Object.assign(image, { src: `static/samples/${file}`, alt: `Sample: ${label}`, width: 56, height: 56 });
    const button = make("button", "thumb", image);
    button.type = "button";
    button.addEventListener("click", async () => onChoose(file.replace(/\.\w+$/, ".png"), await pngOf(image)));
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
