// The details of a model: the choice of versions, and what its card says.

import { make, percent, view } from "./dom.js";

const TASKS = { multiclass: "One class per picture", multilabel: "Any number of classes per picture" };
const COLORS = { RGB: "colour", BGR: "colour", GRAY: "greyscale" };
const FITS = {
  stretch: "stretched to fit",
  center_crop: "cropped around the middle",
  crop_to_aspect_ratio: "cropped around the middle",
  letterbox: "padded to fit",
  fit_ink: "the drawing centred and scaled",
};

/** Whether the model is meant for drawings, such as handwritten digits. */
export function acceptsDrawings(details) {
  return details.card?.input.resize === "fit_ink";
}

/** The lowest score at which each class of a multi-label model counts as present; null for other models. */
export function thresholdsOf({ card }) {
  if (card?.task !== "multilabel") return null;
  return Array.isArray(card.threshold) ? card.threshold : card.labels.map(() => card.threshold);
}

/** Fill the choice of versions and keep the current one if it is still served. */
export function fillVersions({ version, versions }) {
  const current = view.version.value;
  const served = versions.filter((item) => item.state === "AVAILABLE");
  view.version.replaceChildren(new Option(version ? `Newest (version ${version})` : "Newest", ""));
  for (const item of served) {
    for (const label of item.labels ?? []) {
      view.version.add(new Option(`${label} (version ${item.version})`, `labels/${encodeURIComponent(label)}`));
    }
  }
  for (const item of served) view.version.add(new Option(`Version ${item.version}`, `versions/${item.version}`));
  view.version.value = current;
  if (view.version.selectedIndex < 0) view.version.value = "";
}

export function showModel(details) {
  const { card, versions } = details;
  const rows = [["Name", make("code", "", details.name)]];
  if (details.reason) rows.push(["Not available", details.reason]);
  if (card) rows.push(...cardRows(card));
  rows.push(["Versions", versionList(versions)]);
  view.about.replaceChildren(...rows.map(([term, value]) => make("div", "", make("dt", "", term), make("dd", "", value))));
}

function cardRows({ task, labels, input, abstain_below: abstainBelow, metrics, provenance }) {
  const rows = [
    ["Task", TASKS[task]],
    ["Classes", labelList(labels)],
    ["Input", `${input.width} × ${input.height} pixels, ${COLORS[input.color]}, ${FITS[input.resize]}`],
  ];
  if (typeof abstainBelow === "number") rows.push(["Not sure", `below a confidence of ${percent(abstainBelow)}`]);
  const numbers = Object.entries(metrics).filter(([, value]) => typeof value === "number");
  if (numbers.length) {
    const items = numbers.map(([name, value]) => make("li", "", `${readable(name)} ${formatNumber(value)}`));
    rows.push(["Metrics", make("ul", "", ...items)]);
  }
  for (const [term, value] of [
    ["Architecture", provenance.architecture],
    ["Trained on", provenance.data?.title],
    ["Licence", provenance.licence],
  ]) {
    if (typeof value === "string") rows.push([term, value]);
  }
  return rows;
}

function labelList(labels) {
  const list = make("ul", "labels", ...labels.map((label) => make("li", "", label)));
  return make("details", "", make("summary", "", String(labels.length)), list);
}

function versionList(versions) {
  const items = versions.map(({ version, state, labels = [], reason = "" }) => {
    const item = make("li", "", `${version} `, make("span", `state ${state.toLowerCase()}`, state.toLowerCase()));
    for (const label of labels) item.append(" ", make("span", "state", label));
    if (reason) item.append(" ", reason);
    return item;
  });
  return make("ul", "versions", ...items);
}

function formatNumber(value) {
  return value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

function readable(name) {
  return name.replaceAll("_", " ");
}
