/** Marks of threads whose answer was not seen: they go when the thread is shown in a tab that is looked at. */

import { keepUnread, keptUnread, onUnreadElsewhere } from "../net/unread.js";

/**
 * @param {import("../state/store.js").Store} store
 * @param {() => string | null} open the thread that is shown
 * @returns {(before: import("../state/model.js").State) => void} to be called after each change of the state
 */
export function watchUnread(store, open) {
  const see = () => {
    const thread_id = open();
    if (thread_id && document.visibilityState === "visible" && store.state.unread.has(thread_id))
      store.dispatch({ type: "thread_seen", thread_id });
  };
  document.addEventListener("visibilitychange", see);
  onUnreadElsewhere(() => store.dispatch({ type: "unread_known", unread: keptUnread() }));
  return (before) => {
    const { unread } = store.state;
    if (unread !== before.unread && JSON.stringify(keptUnread()) !== JSON.stringify([...unread]))
      keepUnread([...unread]);
    see();
  };
}
