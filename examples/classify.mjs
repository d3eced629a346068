// classify.mjs, for Node 20 or newer: node classify.mjs IMAGE...
import { openAsBlob } from "node:fs";
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const GATEWAY = process.env.IMAGE_GATEWAY_URL ?? "http://localhost:8080";
const KEY = process.env.IMAGE_GATEWAY_API_KEY;
const RETRIES = 3;

async function predict(body, headers = {}) {
  if (KEY) headers = { ...headers, Authorization: `Bearer ${KEY}` };
  for (let attempt = 0; ; attempt++) {
    const response = await fetch(`${GATEWAY}/api/v1/predict?top_k=3&as=list`, {
      method: "POST",
      headers,
      body,
      signal: AbortSignal.timeout(30_000),
    });
    const answer = await response.json();
    if (response.ok) return answer;
    const retryAfter = response.headers.get("Retry-After");
    if (retryAfter === null || attempt === RETRIES) throw new Error(`${answer.title}: ${answer.detail}`);
    await sleep(1000 * Number(retryAfter));
  }
}

function describe({ label, score, confident }) {
  return `${confident === false ? "perhaps " : ""}${label} ${score.toFixed(3)}`;
}

const images = process.argv.slice(2);
const form = new FormData();
for (const path of images) form.append("image", await openAsBlob(path), basename(path));

const { results } = await predict(form); // fetch sets the Content-Type, which names the boundary
results.forEach((result, index) => {
  console.log(`${images[index]}: ${"score" in result ? describe(result) : `${result.title}: ${result.detail}`}`);
});
