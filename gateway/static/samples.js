// Sample pictures: photos that come with the page, or else the golden images of the version that is chosen.

import { listSamples } from "./api.js";
import { make, view } from "./dom.js";
import { useSample } from "./pictures.js";
import { state } from "./state.js";

// Each is shown if the model has a class of that name.
const PHOTOS = {
  macaw: "macaw.jpg",
  lighthouse: "lighthouse.jpg",
  warplane: "warplane.jpg",
};
let abort = new AbortController(); // for the samples in progress
let objectUrls = [];

async function showSamples() {
  abort.abort();
  abort = new AbortController();
  if (!state.model) return;
  const photos = photosOf(state.model.card?.labels ?? []);
  showButtons(photos.length ? photos : await loadSamples(versionNumber(state.model), abort.signal), abort.signal);
}

function photosOf(labels) {
  return Object.entries(PHOTOS)
    .filter(([label]) => labels.includes(label))
    .map(([label, name]) => {
      const source = `static/samples/${name}`;
      return { label, name, source, load: async () => (await fetch(source)).blob() };
    });
}

/** The number of the version that the choices stand for. */
function versionNumber({ version, versions }) {
  const [kind, name] = state.choices.version.split("/");
  if (kind === "versions") return Number(name);
  if (kind !== "labels") return version;
  return versions.find(({ labels = [] }) => labels.includes(decodeURIComponent(name)))?.version ?? version;
}

/** Without samples the page works as well, so that problems are not shown. */
async function loadSamples(version, signal) {
  try {
    const samples = await listSamples(state.choices.model, version, signal);
    return await Promise.all(
      samples.map(async (sample) => {
        const blob = await sample.load();
        return { ...sample, blob, load: async () => blob };
      }),
    );
  } catch {
    return [];
  }
}

function showButtons(samples, signal) {
  if (signal.aborted) return;
  objectUrls.forEach(URL.revokeObjectURL);
  objectUrls = [];
  view["sample-list"].replaceChildren(...samples.map(makeSample));
  view.samples.hidden = !samples.length;
}

function makeSample({ label, name, source, blob, load }) {
  if (blob) objectUrls.push((source = URL.createObjectURL(blob)));
  const image = make("img");
  Object.assign(image, { src: source, alt: `Sample: ${label}`, width: 56, height: 56 });
  const button = make("button", "thumb", image);
  Object.assign(button, { type: "button", title: label });
  button.addEventListener("click", async () => useSample(name, await load()));
  return button;
}

state.on("model", showSamples);
state.on("choices", ({ detail }) => {
  if ("version" in detail) showSamples();
});
