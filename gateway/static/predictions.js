// Sends the pictures to the service, and stores their answers with them.

import { batches, predict, predictPath } from "./api.js";
import { summary } from "./answer.js";
import { view } from "./dom.js";
import { state } from "./state.js";

let abort = new AbortController(); // for the requests in progress

/** Classify all pictures, in as few requests as the limits allow; requests in progress are given up. */
export async function classify() {
  abort.abort();
  abort = new AbortController();
  const { signal } = abort;
  const { pictures } = state;
  for (const picture of pictures) delete picture.answer;
  view.answer.setAttribute("aria-busy", String(pictures.length > 0));
  state.change("answers");
  for (const batch of batches(pictures)) {
    const answers = await predictBatch(batch, signal);
    if (signal.aborted) return;
    batch.forEach((picture, index) => (picture.answer = answers[index]));
    state.change("answers");
  }
  view.answer.setAttribute("aria-busy", "false");
  announce(pictures);
}

/** Classify one batch; a problem with the whole request becomes the answer for each picture. */
async function predictBatch(batch, signal) {
  try {
    return await predict(predictPath(state.choices), batch, signal);
  } catch (problem) {
    return batch.map(() => ({ problem }));
  }
}

function announce(pictures) {
  if (pictures.length === 1 && pictures[0].answer.result) view.status.textContent = summary(pictures[0].answer);
  if (pictures.length < 2) return; // a single problem is already announced as an alert
  const failed = pictures.filter((picture) => picture.answer.problem).length;
  view.status.textContent = `${pictures.length} pictures classified${failed ? `, ${failed} of them failed` : ""}`;
}

state.on("pictures", classify);
state.on("choices", ({ detail }) => {
  const hasHeatMaps = state.pictures.every(({ answer }) => answer?.result?.explanation);
  if ("model" in detail || "version" in detail || (detail.explain && !hasHeatMaps)) classify();
});
