// The pictures to classify, whichever way they come.

import { loadPreview } from "./api.js";
import { state } from "./state.js";

let abort = new AbortController(); // for the preview in progress

export function useFiles(files) {
  if (files.length) setPictures([...files].map((blob) => ({ name: blob.name || "picture.png", blob })));
}

export function useUrl(url) {
  const picture = { name: url, url };
  setPictures([picture]);
  showPreview(picture, abort.signal);
}

export function useSample(name, blob) {
  setPictures([{ name, blob, isGenerated: true }]);
}

export function useDrawing(blob) {
  setPictures([{ name: "drawing.png", blob, isGenerated: true, isDrawing: true }]);
}

export function clear() {
  setPictures([]);
}

function setPictures(pictures) {
  abort.abort();
  abort = new AbortController();
  for (const picture of state.pictures) if (picture.objectUrl) URL.revokeObjectURL(picture.objectUrl);
  for (const picture of pictures) if (picture.blob) picture.objectUrl = URL.createObjectURL(picture.blob);
  state.change("pictures", { pictures, selected: 0 });
}

/** Show the image behind a URL as the service sees it: this page loads nothing from other sites. */
async function showPreview(picture, signal) {
  try {
    const preview = await loadPreview(picture.url, signal);
    if (signal.aborted) return;
    picture.objectUrl = URL.createObjectURL(preview);
  } catch (problem) {
    if (signal.aborted) return;
    picture.previewProblem = problem;
  }
  state.change("selection");
}
