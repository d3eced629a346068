// The page /compare: the same pictures, classified by two models or versions.

import { batches, predict, predictPath } from "../api.js";
import { view } from "../dom.js";
import { scaleDown, shorterSide } from "../scaling.js";
import { summarise } from "./agreement.js";
import { pictureDetails } from "./picture.js";
import { fillSides, sideOf, writeAddress } from "./sides.js";

const TOP_K = 20; // so that most classes of one side have a score of the other
const OPEN = 4; // with more pictures, only what they say is shown at first
let pictures = [];
let abort = new AbortController(); // for the comparison in progress

async function start() {
  const missing = await fillSides();
  view.notice.hidden = !missing.length;
  view.notice.textContent = `Not served: ${missing.join(", ")}. Others are chosen instead.`;
  await compare(); // pictures that were chosen meanwhile
}

function usePictures(files) {
  if (!files.length) return;
  for (const { objectUrl } of pictures) URL.revokeObjectURL(objectUrl);
  pictures = [...files].map((blob) => ({ name: blob.name || "picture.png", blob, objectUrl: URL.createObjectURL(blob) }));
  compare();
}

/** Classify all pictures on both sides, and show each as soon as both answers are there. */
async function compare() {
  abort.abort();
  abort = new AbortController();
  const { signal } = abort;
  view.pictures.replaceChildren();
  view.filter.hidden = true;
  if (!view.a.value || !pictures.length) return;
  const sides = [view.a, view.b].map(sideOf);
  const all = pictures;
  view.cancel.hidden = false;
  showProgress(0, all.length);
  const shorter = Math.max(...sides.map(({ input }) => shorterSide(input)));
  for (const picture of all) {
    picture.upload = await scaleDown(picture.blob, shorter);
    if (signal.aborted) return;
  }
  for (const batch of batches(all)) {
    if (signal.aborted) return;
    const [a, b] = await Promise.all(sides.map((side) => classify(side, batch, signal)));
    if (signal.aborted) return;
    batch.forEach((picture, index) => (picture.answers = [a[index], b[index]]));
    view.pictures.append(...batch.map((picture) => pictureDetails(picture, sides, all.length <= OPEN)));
    showProgress(view.pictures.childElementCount, all.length);
  }
  view.cancel.hidden = true;
  view.filter.hidden = all.length < 2;
  view.summary.textContent = summarise(all.map(({ answers }) => answers), sides.map(({ labels }) => labels));
}

/** The answers of one side; a problem with the whole request becomes the answer for each picture. */
async function classify({ model, version }, batch, signal) {
  try {
    return await predict(`${predictPath({ model, version })}?top_k=${TOP_K}`, batch, { signal });
  } catch (problem) {
    return batch.map(() => ({ problem }));
  }
}

function showProgress(done, count) {
  view.summary.textContent = `Classifying, ${done} of ${count}`;
}

function cancel() {
  abort.abort();
  view.cancel.hidden = true;
  view.summary.textContent = `Cancelled after ${view.pictures.childElementCount} of ${pictures.length}.`;
}

view.choose.addEventListener("change", () => {
  usePictures(view.choose.files);
  view.choose.value = "";
});
for (const select of [view.a, view.b]) {
  select.addEventListener("change", () => {
    writeAddress();
    compare();
  });
}
view.differing.addEventListener("change", () => view.pictures.classList.toggle("differing", view.differing.checked));
view.cancel.addEventListener("click", cancel);
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  usePictures(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => usePictures(event.clipboardData.files));

start().catch(({ message, detail }) => {
  view.service.hidden = false;
  view.service.textContent = `${message}. ${detail ?? ""}`;
});
