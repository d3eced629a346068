// Requests to the service: a key if it requires one, a time limit, and problems as errors.

import { apiKey, askForKey } from "./key.js";

const TIMEOUT_MS = 60_000; // only for dead connections: nginx gives up earlier

/** An RFC 9457 problem document, from the service or created here if the service cannot be reached. */
export class Problem extends Error {
  constructor({ type = "about:blank", title, detail = "", request_id = "" }) {
    super(title);
    Object.assign(this, { type, title, detail, requestId: request_id });
  }
}

/** Send a request; if the service requires a key, ask the user for one and send the request again. */
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

async function attempt(path, key, { signal, headers, ...request }) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  try {
    return await fetch(path, {
      ...request,
      headers: key ? { ...headers, Authorization: `Bearer ${key}` } : headers,
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const detail = limit.aborted ? `No response within ${TIMEOUT_MS / 1000} seconds.` : error.message;
    throw new Problem({ title: "The service cannot be reached", detail });
  }
}

async function problemOf(response) {
  const text = await response.text();
  try {
    return new Problem(JSON.parse(text));
  } catch {
    return new Problem({ title: `The service responded with status ${response.status}`, detail: text.slice(0, 300) });
  }
}
