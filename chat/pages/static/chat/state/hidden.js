/** Threads that other programs began without naming them. They are in no list until a second message joins them. */

export class HiddenThreads {
  /** @type {Set<string>} */
  #ids = new Set();

  /**
   * @param {import("../net/frames.js").ServerFrame} frame
   * @param {boolean} known the page shows its thread already
   * @returns {boolean} whether the frame is of a thread that the page does not show
   */
  has(frame, known) {
    if (!("thread_id" in frame) || !frame.thread_id) return false;
    if (frame.type === "message_created") {
      if (frame.hidden && !known) this.#ids.add(frame.thread_id);
      else this.#ids.delete(frame.thread_id);
    }
    return !known && this.#ids.has(frame.thread_id);
  }
}
