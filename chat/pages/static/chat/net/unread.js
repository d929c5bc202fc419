/** Which threads have an answer that the user has not seen yet, for all tabs of this browser. */

import { named } from "./storage.js";

/** @typedef {[string, import("../state/model.js").Outcome][]} Unread thread ids, the newest last */

const UNREAD = named("netra.unread");
/** The marks of so many threads are kept, the newest ones. */
const MAX_THREADS = 200;

/** @returns {Unread} */
export const keptUnread = () => JSON.parse(localStorage.getItem(UNREAD) ?? "[]");

/** @param {Unread} unread */
export const keepUnread = (unread) => localStorage.setItem(UNREAD, JSON.stringify(unread.slice(-MAX_THREADS)));

export function forgetUnread() {
  localStorage.removeItem(UNREAD);
}

/** @param {() => void} changed called when another tab has changed them */
export function onUnreadElsewhere(changed) {
  addEventListener("storage", ({ key }) => key === UNREAD && changed());
}
