/** Marks of threads whose answer was not seen: they go when the thread is shown in a tab that is looked at. */

/**
 * @param {object} page
 * @param {import("../state/store.js").Store} page.store
 * @param {import("../net/api.js").Api} page.api
 * @param {import("../net/loader.js").Owner["attempt"]} page.attempt
 * @param {() => string | null} open the thread that is shown
 * @returns {() => void} to be called after each change of the state
 */
export function watchUnread({ store, api, attempt }, open) {
  const look = () => {
    const id = open();
    const unread = id && store.state.unread.get(id);
    if (!unread || document.visibilityState !== "visible") return;
    store.dispatch({ type: "thread_seen", thread_id: id, seen_seq: unread.seq });
    // Where that fails the list marks it again.
    void attempt(
      () => api.change(id, { seen_seq: unread.seq }),
      () => {},
    );
  };
  document.addEventListener("visibilitychange", look);
  return look;
}
