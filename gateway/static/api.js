// Client of the HTTP API; the page uses the same routes as any other client.

import { parseJson, Problem, send } from "./requests.js";

/** Where the service is published, without a slash at the end. */
export const SERVICE = new URL(".", document.baseURI).href.replace(/\/$/, "");

const BATCH_PICTURES = 16;
/** Below the service's usual limit of 10 MiB on a body. */
export const BATCH_BYTES = 8 * 1024 * 1024;

export async function listModels() {
  return (await parseJson(await send("api/v1/models"))).models;
}

/** One model with its versions and its card. */
export async function describeModel(name, signal) {
  return parseJson(await send(`api/v1/models/${encodeURIComponent(name)}`, { signal }));
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
    const size = uploadOf(picture)?.size ?? BATCH_BYTES;
    if (!groups.length || groups.at(-1).length === BATCH_PICTURES || bytes + size > BATCH_BYTES) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1).push(picture);
    bytes += size;
  }
  return groups;
}

/**
 * Classify the pictures of one batch. The answers are in the same order, each with a result or a problem.
 *
 * `onUpload` receives the part of the pictures that is sent, from 0 to 1.
 */
export async function predict(path, pictures, { signal, onUpload }) {
  const started = performance.now();
  const response = await send(path, { method: "POST", signal, ...requestBody(pictures, onUpload) });
  const document = await parseJson(response);
  const common = {
    document,
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

function requestBody(pictures, onUpload) {
  if (pictures[0].url) {
    return { body: JSON.stringify({ url: pictures[0].url }), headers: { "Content-Type": "application/json" } };
  }
  const body = new FormData();
  for (const picture of pictures) body.append("image", uploadOf(picture), picture.name);
  return { body, onUpload };
}

function uploadOf({ blob, upload }) {
  return upload ?? blob;
}

/** A small JPEG of the image behind a URL, which the service fetches. */
export async function loadPreview(url, signal) {
  const headers = { "Content-Type": "application/json" };
  return (await send("playground/preview", { method: "POST", body: JSON.stringify({ url }), headers, signal })).blob();
}

/** The sample images of a version: each has a label, a file name and `load`, which returns a blob. */
export async function listSamples(model, version, signal) {
  const path = `playground/samples/${encodeURIComponent(model)}/${version}`;
  const { samples } = await parseJson(await send(path, { signal }));
  return samples.map((sample, index) => ({ ...sample, load: async () => (await send(`${path}/${index}`, { signal })).blob() }));
}

/** Parse `decode;dur=1.2, total;dur=9` as [["decode", 1.2], ["total", 9]]. */
function serverTiming(header) {
  const pairs = [...(header ?? "").matchAll(/([\w-]+)\s*;\s*dur=([\d.]+)/g)];
  return pairs.map(([, stage, milliseconds]) => [stage, Number(milliseconds)]);
}
