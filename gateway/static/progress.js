// How far the classification is, and a button to cancel it.

import { view } from "./dom.js";
import { cancel } from "./predictions.js";
import { state } from "./state.js";

const TEXTS = {
  preparing: ({ done, count }) => `Scaling down${count > 1 ? ` ${done + 1} of ${count}` : ""}`,
  uploading: ({ fraction }) => `Uploading, ${Math.round(fraction * 100)} %`,
  waiting: () => "Waiting for the answer",
  retrying: ({ problem, seconds }) => `${problem.title}. Trying again in ${seconds} s`,
};

function show() {
  const { progress } = state;
  view.answer.setAttribute("aria-busy", String(Boolean(progress)));
  view.progress.hidden = !progress;
  if (!progress) return;
  const { stage, done, count, fraction } = progress;
  const counted = count > 1 && stage !== "preparing" ? `, ${done} of ${count} done` : "";
  view["progress-text"].textContent = TEXTS[stage](progress) + counted;
  if (stage === "retrying") view.status.textContent = view["progress-text"].textContent;
  if (stage === "uploading") view["progress-bar"].value = fraction;
  else view["progress-bar"].removeAttribute("value"); // not known
}

view.cancel.addEventListener("click", cancel);
state.on("progress", show);
