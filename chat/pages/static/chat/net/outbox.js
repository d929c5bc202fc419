/** What is not sent yet, kept over a reload of the tab: `{user_id, unsent, stopping}`. */

import { keep, named } from "./storage.js";

/** @typedef {import("../state/model.js").State} State */

const OUTBOX = named("netra.unsent");
/** Whose the tab's unsent messages and drafts are. */
const OWNER = named("netra.of");

/**
 * @param {string} user_id
 * @param {State} state
 */
export function keepUnsent(user_id, { unsent, stopping }) {
  const waiting = unsent.filter((message) => message.status !== "accepted");
  keep(OUTBOX, JSON.stringify({ user_id, unsent: waiting, stopping: [...stopping] }));
}

/**
 * Take the tab over for a user. Nothing stays of another one who used it.
 * @param {string} user_id
 * @returns {{mine: boolean, kept: {unsent: import("../state/model.js").Unsent[], stopping: string[]} | null}}
 *   `mine`: the same user had the tab before
 */
export function restoreUnsent(user_id) {
  const kept = JSON.parse(sessionStorage.getItem(OUTBOX) ?? "null");
  const owner = sessionStorage.getItem(OWNER) ?? kept?.user_id ?? user_id;
  keep(OWNER, user_id);
  if (owner === user_id) return { mine: true, kept };
  forgetUnsent();
  return { mine: false, kept: null };
}

export function forgetUnsent() {
  sessionStorage.removeItem(OUTBOX);
}
