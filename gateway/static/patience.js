// Waiting for what may pass: pauses that grow, or as long as the service says.

const FIRST_PAUSE_S = 1;
const LONGEST_PAUSE_S = 30;

/** Seconds until the next attempt; `attempt` counts from 0. */
export function pauseS({ retryAfterS }, attempt) {
  return Math.min(retryAfterS ?? FIRST_PAUSE_S * 2 ** attempt, LONGEST_PAUSE_S);
}

/** Wait, or throw if the signal is aborted. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(signal.reason);
      },
      { once: true },
    );
    if (signal?.aborted) reject(signal.reason);
  });
}

/**
 * Call a function until it succeeds, as long as its problems may pass.
 *
 * `onWait` receives the problem and the seconds until the next attempt, and null at the end.
 */
export async function patiently(call, { signal, onWait }) {
  try {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await call();
      } catch (problem) {
        if (signal?.aborted || !problem.mayPass) throw problem;
        const seconds = pauseS(problem, attempt);
        onWait(problem, seconds);
        await pause(seconds, signal);
      }
    }
  } finally {
    onWait(null);
  }
}
