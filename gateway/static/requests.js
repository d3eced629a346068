// Requests to the service: a key if it requires one, a time limit, and problems as errors.

import { apiKey, askForKey } from "./key.js";

const SILENCE_MS = 60_000; // only for dead connections: nginx gives up earlier
const BODILESS_STATUSES = new Set([204, 205, 304]); // to `Response`
const PASSING_STATUSES = new Set([429, 502, 503, 504]);

/**
 * An RFC 9457 problem document, from the service or created here if the service cannot be reached.
 *
 * `mayPass` says whether the same request may succeed later, `retryAfterS` when to try, if the service says so, and
 * `document` what it sent.
 */
export class Problem extends Error {
  constructor({ type = "about:blank", title, detail = "", status = 0, request_id = "" }, { mayPass, retryAfterS = null, document = null } = {}) {
    super(title);
    mayPass ??= PASSING_STATUSES.has(status);
    Object.assign(this, { type, title, detail, status, requestId: request_id, mayPass, retryAfterS, document });
  }
}

/**
 * Send a request; if the service requires a key, ask the user for one and send the request again.
 *
 * `onUpload` receives the part of the body that is sent, from 0 to 1.
 */
export async function send(path, request = {}) {
  for (;;) {
    const key = apiKey();
    const response = await attempt(path, key, request);
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status !== 401) throw problem;
    // The user may already have entered a key because another request was refused.
    if (apiKey() === key) await askForKey(key ? `${problem.message}.` : "This service requires an API key.");
  }
}

/** The document of a response; something between the page and the service may answer in its place. */
export async function parseJson(response) {
  try {
    return await response.json();
  } catch {
    const detail = "The answer is not JSON. A login page or a proxy may have answered instead: reload this page.";
    throw new Problem({ title: "The answer cannot be read", detail, status: response.status });
  }
}

async function attempt(path, key, { signal, headers = {}, onUpload, ...request }) {
  const silence = new Silence(SILENCE_MS);
  const authorized = {
    ...request,
    headers: key ? { ...headers, Authorization: `Bearer ${key}` } : headers,
    signal: signal ? AbortSignal.any([signal, silence.signal]) : silence.signal,
  };
  try {
    if (!onUpload) return await fetch(path, authorized);
    return await upload(path, authorized, (fraction) => {
      silence.end();
      onUpload(fraction);
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const detail = silence.signal.aborted ? `No response within ${SILENCE_MS / 1000} seconds.` : "It is not running, or the connection to it is interrupted.";
    throw new Problem({ title: "The service cannot be reached", detail }, { mayPass: true });
  } finally {
    silence.stop();
  }
}

/** Aborts its signal after some time in which nothing was sent. */
class Silence {
  #abort = new AbortController();
  #limitMs;
  #timer;

  constructor(limitMs) {
    this.#limitMs = limitMs;
    this.end();
  }

  get signal() {
    return this.#abort.signal;
  }

  end() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#abort.abort(), this.#limitMs);
  }

  stop() {
    clearTimeout(this.#timer);
  }
}

/** Like `fetch`, which does not report how much of a body is sent. */
function upload(path, { method, headers, body, signal }, onUpload) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    request.responseType = "blob";
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", ({ loaded, total }) => onUpload(total ? loaded / total : 0));
    request.addEventListener("load", () => resolve(responseOf(request)));
    for (const type of ["error", "abort"]) request.addEventListener(type, () => reject(new Error(type)));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    if (signal.aborted) reject(new Error("abort"));
    else request.send(body);
  });
}

function responseOf(request) {
  const lines = request.getAllResponseHeaders().trim().split("\r\n").filter(Boolean);
  const headers = lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]);
  const body = BODILESS_STATUSES.has(request.status) ? null : request.response;
  return new Response(body, { status: request.status, headers });
}

async function problemOf(response) {
  const text = await response.text();
  const retryAfterS = Number.parseInt(response.headers.get("Retry-After"), 10);
  const { status } = response;
  let document = { title: `The service responded with status ${status}`, detail: text.slice(0, 300) };
  try {
    const parsed = JSON.parse(text);
    if (parsed?.title) document = parsed;
  } catch {
    // Not from the service, such as a page of a proxy in front.
  }
  return new Problem(
    { ...document, status },
    { retryAfterS: Number.isNaN(retryAfterS) ? null : retryAfterS, document },
  );
}
