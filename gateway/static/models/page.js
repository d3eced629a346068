// The page /models: each model with its health, versions and card, refreshed while the page is visible.

import { describeModel } from "../api.js";
import { listWhenReachable } from "../availability.js";
import { view } from "../dom.js";
import { pause } from "../patience.js";
import { modelSection } from "./section.js";

const REFRESH_S = 10;
const DETAILS_LAST = 6; // refreshes of the list, unless that says something new: each request counts towards a rate limit
const described = new Map(); // by name: what the list said of a model, its details, and for how many refreshes they last
const shown = new Map(); // by name: the section of a model, and the text of the details that it shows

async function refresh() {
  const summaries = await listWhenReachable();
  const details = await Promise.all(summaries.map(describe));
  for (const name of shown.keys()) if (!details.some((model) => model.name === name)) shown.delete(name);
  const sections = details.map(sectionOf);
  // To insert an element again would take away the focus in it.
  if (sections.length !== view.models.children.length || sections.some((section, index) => section !== view.models.children[index])) view.models.replaceChildren(...sections);
  view.models.ariaBusy = "false";
}

/** The details of a model, or what the list says of it if there are none. */
async function describe(summary) {
  const text = JSON.stringify(summary);
  const known = described.get(summary.name);
  if (known?.text === text && known.lasts > 1) {
    known.lasts -= 1;
    return known.details;
  }
  try {
    const details = await describeModel(summary.name);
    described.set(summary.name, { text, details, lasts: DETAILS_LAST });
    return details;
  } catch (problem) {
    described.delete(summary.name);
    return { ...summary, available: false, reason: problem.detail || `${problem.message}.`, versions: [] };
  }
}

/** The section that shows a model; the same as before if nothing has changed, so that what is open stays open. */
function sectionOf(model) {
  const text = JSON.stringify(model);
  if (shown.get(model.name)?.text !== text) shown.set(model.name, { text, section: modelSection(model) });
  return shown.get(model.name).section;
}

async function becomesVisible() {
  if (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

function showProblem({ title, detail, message }) {
  view.service.hidden = false;
  view.service.textContent = `${title ?? message}. ${detail ?? ""}`;
}

for (;;) {
  await refresh().catch(showProblem);
  await pause(REFRESH_S);
  await becomesVisible();
}
