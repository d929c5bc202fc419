/** Long work in short steps. */

/** How long a step may keep the page from answering. */
const MAX_STEP_MS = 20;
/** @type {Set<() => void>} */
const turns = new Set();

/**
 * Do what takes time one after the other, with pauses in which the page can answer.
 * @param {() => void} work
 */
export function inTurn(work) {
  turns.add(work);
  if (turns.size === 1) setTimeout(go);
}

function go() {
  const end = performance.now() + MAX_STEP_MS;
  for (const work of turns) {
    try {
      work();
    } catch (error) {
      reportError(error);
    }
    turns.delete(work);
    if (performance.now() > end) break;
  }
  if (turns.size > 0) setTimeout(go);
}
