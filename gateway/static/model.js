// The details of a model: the choice of versions, and what its card says.

import { make, percent, view } from "./dom.js";
import { labelList } from "./labels.js";

const TASKS = { multiclass: "One class per picture", multilabel: "Any number of classes per picture" };
// Those in common use (https://spdx.org/licenses); of the others only a URL in the card can be followed.
const SPDX_IDENTIFIER = /^(?:Apache-2\.0|MIT|BSD-[23]-Clause|ISC|MPL-2\.0|CC0-1\.0|CC-BY(?:-NC)?(?:-SA|-ND)?-[34]\.0|(?:A|L)?GPL-[23]\.\d-(?:only|or-later))$/;
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

/** Fill the choice of versions, and show the chosen one if it is served. */
export function fillVersions({ version, versions }, chosen) {
  const served = versions.filter((item) => item.state === "AVAILABLE");
  view.version.replaceChildren(new Option(version ? `Newest (version ${version})` : "Newest", ""));
  for (const item of served) {
    for (const label of item.labels ?? []) {
      view.version.add(new Option(`${label} (version ${item.version})`, `labels/${encodeURIComponent(label)}`));
    }
  }
  for (const item of served) view.version.add(new Option(`Version ${item.version}`, `versions/${item.version}`));
  view.version.value = chosen;
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

/** What a card says, as pairs of a term and its description. */
export function cardRows({ task, labels, input, abstain_below: abstainBelow, metrics, provenance }) {
  const rows = [
    ["Task", TASKS[task]],
    ["Classes", labelList(labels)],
    ["Input", `${input.width} × ${input.height} pixels, ${COLORS[input.color]}, ${FITS[input.resize]}`],
  ];
  const quality = describeQuality(metrics, abstainBelow);
  if (quality) rows.push(["Quality", quality]);
  for (const [term, value] of [
    ["Architecture", provenance.architecture],
    ["Trained on", provenance.data?.title],
  ]) {
    if (typeof value === "string") rows.push([term, value]);
  }
  if (typeof provenance.licence === "string") rows.push(["Licence", licenceLink(provenance.licence)]);
  return rows;
}

/** One sentence, such as `93.0 % of 1,017 test images are classified correctly; not sure below 94.6 %.` */
export function describeQuality({ accuracy, images, answered }, abstainBelow) {
  const parts = [];
  if (isNumber(accuracy)) {
    const count = isNumber(images) ? `${images.toLocaleString("en")} ` : "";
    parts.push(`${percent(accuracy)} of ${count}test images are classified correctly`);
  }
  if (isNumber(abstainBelow)) parts.push(`not sure below a confidence of ${percent(abstainBelow)}`);
  if (isNumber(abstainBelow) && isNumber(answered?.accuracy)) parts.push(`${percent(answered.accuracy)} correct when sure`);
  const sentence = parts.join("; ");
  return sentence && `${sentence[0].toUpperCase()}${sentence.slice(1)}.`;
}

/** A licence with a link to its text: the URL that is written in it, or the page of SPDX about its identifier. */
export function licenceLink(licence) {
  const [url] = /https?:\/\/[^\s,;)]+/.exec(licence) ?? [];
  const name = licence.replace(url ?? "", "").replace(/[\s,;]+$/, "") || url;
  const identifier = SPDX_IDENTIFIER.exec(name)?.[0];
  const address = identifier ? `https://spdx.org/licenses/${identifier}.html` : url;
  if (!address) return licence;
  const link = make("a", "", name);
  Object.assign(link, { href: address, rel: "noreferrer" });
  return link;
}

function isNumber(value) {
  return typeof value === "number";
}

/** The versions with their states and labels. */
export function versionList(versions) {
  const items = versions.map(({ version, state, labels = [], reason = "" }) => {
    const item = make("li", "", `${version} `, make("span", `state ${state.toLowerCase()}`, state.toLowerCase()));
    for (const label of labels) item.append(" ", make("span", "state", label));
    if (reason) item.append(" ", reason);
    return item;
  });
  return make("ul", "versions", ...items);
}
