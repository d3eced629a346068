// Waiting for the service and its models, and saying so.

import { describeModel, listModels } from "./api.js";
import { view } from "./dom.js";
import { patiently } from "./patience.js";
import { Problem } from "./requests.js";

/** The models, as soon as the service answers. */
export function listWhenReachable() {
  return patiently(listModels, { onWait: (problem, seconds) => showWait("the service", problem, seconds) });
}

/**
 * The details of a model, as soon as it is available; an empty name stands for any model.
 *
 * `onWait` is called before each pause, and `onUnavailable` receives the details of a model that cannot answer yet.
 */
export function describeAvailable(name, { signal, onWait = () => {}, onUnavailable = () => {} }) {
  const call = async () => {
    if (!name) return listModels();
    const details = await describeModel(name, signal);
    if (details.available) return details;
    onUnavailable(details);
    throw new Problem({ title: "The model is not available", detail: details.reason, status: 503 });
  };
  return patiently(call, {
    signal,
    onWait: (problem, seconds) => {
      if (problem) onWait();
      // Status 0: nothing answers.
      showWait(name && problem?.status ? `the model ${name}` : "the service", problem, seconds);
    },
  });
}

function showWait(what, problem, seconds) {
  view.service.hidden = !problem;
  if (!problem) return;
  const reason = problem.detail ? `${problem.title}. ${problem.detail}` : `${problem.title}.`;
  view.service.textContent = `Waiting for ${what}. ${reason} Next attempt in ${seconds} s.`;
}
