/** The writer of Markdown, loaded for the first text that it is to show: with its libraries it is a third of the scripts. */

/** How soon loading is tried again after it has failed, in milliseconds. */
const RETRY_MS = 3_000;

/** @type {typeof import("./markdown.js").Writing | null} */
let Writing = null;
/** @type {"no" | "loading" | "failed"} */
let state = "no";

async function load() {
  state = "loading";
  try {
    ({ Writing } = await import("./markdown.js"));
  } catch (error) {
    console.warn(error);
    state = "failed";
    setTimeout(() => {
      state = "no";
    }, RETRY_MS);
  }
}

/**
 * Load it if it is not there.
 * @returns {typeof import("./markdown.js").Writing | "loading" | "failed"}
 */
export function writer() {
  if (Writing) return Writing;
  if (state === "no") void load();
  return state === "failed" ? "failed" : "loading";
}
