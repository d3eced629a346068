// Sends the pictures to the service, and stores their answers with them.

import { batches, predict, predictPath } from "./api.js";
import { summary } from "./answer.js";
import { describeAvailable } from "./availability.js";
import { view } from "./dom.js";
import { pause, pauseS } from "./patience.js";
import { Problem } from "./requests.js";
import { isLarge, scaleDown, shorterSide } from "./scaling.js";
import { state } from "./state.js";

const RETRIES = 3;
const LONGEST_RETRY_S = 30;
const MODEL_WAIT_S = 2;
const ORIGINAL = Infinity; // as the side to which a picture is scaled
let abort = new AbortController(); // for the requests in progress

/** Classify the pictures again whose problem may have passed. */
export function tryAgain() {
  return classify(state.pictures.filter(({ answer }) => answer?.problem?.mayPass));
}

/** Give up the requests in progress. */
export function cancel() {
  abort.abort();
  const problem = new Problem({ title: "Cancelled", detail: "This picture was not classified." }, { mayPass: true });
  for (const picture of state.pictures) picture.answer ??= { problem };
  state.change("progress", { progress: null });
  state.change("answers");
}

/** Classify pictures in as few requests as the limits allow; requests in progress are given up. */
async function classify(pictures) {
  abort.abort();
  abort = new AbortController();
  const { signal } = abort;
  for (const picture of pictures) delete picture.answer;
  report(pictures, pictures.length ? { stage: "waiting" } : null);
  state.change("answers");
  try {
    await scalePictures(pictures, signal);
    for (const batch of batches(pictures)) await classifyBatch(batch, pictures, signal);
  } catch (error) {
    if (signal.aborted) return;
    throw error;
  }
  report(pictures, null);
  announce();
  await recover(signal);
}

async function scalePictures(pictures, signal) {
  const files = pictures.filter(({ blob }) => blob && isLarge(blob));
  if (!files.length) return;
  await waitForModel();
  signal.throwIfAborted();
  const side = state.choices.original ? ORIGINAL : shorterSide(state.model?.card?.input);
  for (const [index, picture] of files.entries()) {
    if (picture.side === side) continue;
    report(pictures, { stage: "preparing", done: index, count: files.length });
    const upload = side === ORIGINAL ? null : await scaleDown(picture.blob, side);
    signal.throwIfAborted();
    Object.assign(picture, { upload, side });
  }
}

/** The model's details say how many pixels it sees; without them, its pictures are scaled for a usual model. */
async function waitForModel() {
  const limit = new Promise((resolve) => setTimeout(resolve, MODEL_WAIT_S * 1000, "limit"));
  while (!state.model && (await Promise.race([state.next("model"), limit])) !== "limit");
}

async function classifyBatch(batch, pictures, signal) {
  const answers = await predictBatch(batch, (progress) => report(pictures, progress), signal);
  batch.forEach((picture, index) => (picture.answer = answers[index]));
  state.change("answers");
}

/** Classify one batch, again if the service says when; a problem with the whole request becomes the answer for each picture. */
async function predictBatch(batch, onProgress, signal) {
  const onUpload = (fraction) => onProgress({ stage: fraction < 1 ? "uploading" : "waiting", fraction });
  for (let attempt = 0; ; attempt += 1) {
    onProgress({ stage: "waiting" });
    try {
      return await predict(predictPath(state.choices), batch, { signal, onUpload });
    } catch (problem) {
      if (signal.aborted) throw problem;
      const isRetried = problem.mayPass && problem.retryAfterS !== null && problem.retryAfterS <= LONGEST_RETRY_S;
      if (!isRetried || attempt === RETRIES) return batch.map(() => ({ problem }));
      const seconds = pauseS(problem, attempt);
      onProgress({ stage: "retrying", problem, seconds });
      await pause(seconds, signal);
    }
  }
}

function report(pictures, progress) {
  const done = pictures.filter(({ answer }) => answer).length;
  state.change("progress", { progress: progress && { done, count: pictures.length, ...progress } });
}

function announce() {
  const { pictures } = state;
  if (pictures.length === 1 && pictures[0].answer.result) view.status.textContent = summary(pictures[0].answer);
  if (pictures.length < 2) return; // a single problem is already announced as an alert
  const failed = pictures.filter((picture) => picture.answer.problem).length;
  view.status.textContent = `${pictures.length} pictures classified${failed ? `, ${failed} of them failed` : ""}`;
}

/** After an outage, classify again once the model answers; if it answers already, the user decides. */
async function recover(signal) {
  const isOutage = ({ answer }) => answer.problem?.mayPass && answer.problem.status !== 429;
  if (!state.pictures.some(isOutage)) return;
  let hasWaited = false;
  try {
    await describeAvailable(state.choices.model, { signal, onWait: () => (hasWaited = true) });
  } catch {
    return; // another request replaces this one, or the problem does not pass
  }
  if (hasWaited) await tryAgain();
}

state.on("pictures", () => classify(state.pictures));
state.on("choices", ({ detail }) => {
  const hasHeatMaps = state.pictures.every(({ answer }) => answer?.result?.explanation);
  const isOther = "model" in detail || "version" in detail || (detail.explain && !hasHeatMaps);
  const isScaled = "original" in detail && state.pictures.some(({ blob }) => blob && isLarge(blob));
  if (isOther || isScaled) classify(state.pictures);
});
