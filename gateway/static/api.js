// Client of the HTTP API; the page uses the same routes as any other client.

import { Problem, send } from "./requests.js";

/** Where the service is published, without a slash at the end. */
export const SERVICE = new URL(".", document.baseURI).href.replace(/\/$/, "");

const BATCH_PICTURES = 16;
const BATCH_BYTES = 8 * 1024 * 1024; // below the service's usual limit of 10 MiB on a body

export async function listModels() {
  return (await (await send("api/v1/models")).json()).models;
}

/** One model with its versions and its card. */
export async function describeModel(name, signal) {
  return (await send(`api/v1/models/${encodeURIComponent(name)}`, { signal })).json();
}

/** Relative to the page, which may be published below a path. `version` is empty for the newest version, or such as `versions/2` or `labels/stable`. */
export function predictPath({ model, version, explain }) {
  const name = model ? `/models/${encodeURIComponent(model)}${version ? `/${version}` : ""}` : "";
  return `api/v1${name}/predict${explain ? "?explain=true" : ""}`;
}

/** Split pictures into as few requests as the limits allow. A URL is a request of its own. */
export function batches(pictures) {
  const groups = [];
  let bytes = 0;
  for (const picture of pictures) {
    const size = picture.blob?.size ?? BATCH_BYTES;
    if (!groups.length || groups.at(-1).length === BATCH_PICTURES || bytes + size > BATCH_BYTES) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1).push(picture);
    bytes += size;
  }
  return groups;
}

/** Classify the pictures of one batch. The answers are in the same order, each with a result or a problem. */
export async function predict(path, pictures, signal) {
  const started = performance.now();
  const response = await send(path, { method: "POST", signal, ...requestBody(pictures) });
  const document = await response.json();
  const common = {
    roundTripMs: performance.now() - started,
    timing: serverTiming(response.headers.get("Server-Timing")),
    requestId: document.request_id,
    pictureCount: pictures.length,
  };
  return (document.results ?? [document]).map((item) =>
    item.predictions
      ? { ...common, result: { model: document.model, ...item } }
      : { ...common, problem: new Problem({ request_id: document.request_id, ...item }) },
  );
}

function requestBody(pictures) {
  if (pictures[0].url) {
    return { body: JSON.stringify({ url: pictures[0].url }), headers: { "Content-Type": "application/json" } };
  }
  const body = new FormData();
  for (const picture of pictures) body.append("image", picture.blob, picture.name);
  return { body };
}

/** Parse `decode;dur=1.2, total;dur=9` as [["decode", 1.2], ["total", 9]]. */
function serverTiming(header) {
  const pairs = [...(header ?? "").matchAll(/([\w-]+)\s*;\s*dur=([\d.]+)/g)];
  return pairs.map(([, stage, milliseconds]) => [stage, Number(milliseconds)]);
}
