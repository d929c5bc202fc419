/** Which branch of each thread was shown last, for all tabs of this browser: thread id to chosen messages and runs. */

import { named } from "./storage.js";

const CHOICES = named("netra.branches");
/** Of so many threads the choices are kept; the thread whose branch was chosen longest ago is dropped first. */
const MAX_THREADS = 200;

/** @returns {[string, string[]][]} */
const all = () => JSON.parse(localStorage.getItem(CHOICES) ?? "[]");

/**
 * @param {string} thread_id
 * @returns {string[]}
 */
export const keptChoices = (thread_id) => all().find(([id]) => id === thread_id)?.[1] ?? [];

/**
 * @param {string} thread_id
 * @param {string[]} ids
 */
export function keepChoices(thread_id, ids) {
  const others = all().filter(([id]) => id !== thread_id);
  const kept = ids.length > 0 ? [...others, [thread_id, ids]] : others;
  localStorage.setItem(CHOICES, JSON.stringify(kept.slice(-MAX_THREADS)));
}

export function forgetChoices() {
  localStorage.removeItem(CHOICES);
}
