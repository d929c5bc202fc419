/** Threads that are deleted when the time to take it back is over. */

import { parts } from "../text/strings.js";
import { element } from "./element.js";
import { offer } from "./notices.js";

/** How long a deletion can be taken back, in milliseconds. */
const UNDO_MS = 6_000;

/**
 * @typedef {object} Owner
 * @property {(thread_id: string) => Promise<void>} remove
 * @property {(thread_id: string) => void} removeAtOnce without waiting for the answer
 * @property {(thread_id: string) => void} undone
 */

export class Removals {
  #owner;
  /** @type {Map<string, {timer: number, withdraw: () => void}>} */
  #pending = new Map();

  /** @param {Owner} owner */
  constructor(owner) {
    this.#owner = owner;
  }

  /** @returns {Set<string>} the threads that are about to be deleted */
  get ids() {
    return new Set(this.#pending.keys());
  }

  /**
   * @param {string} thread_id
   * @param {string} title
   */
  add(thread_id, title) {
    const withdraw = offer(parts("thread.deleted", { title: element("bdi", {}, title) }), () => {
      this.cancel(thread_id);
      this.#owner.undone(thread_id);
    });
    const timer = setTimeout(() => {
      withdraw();
      void this.#owner.remove(thread_id).finally(() => this.cancel(thread_id));
    }, UNDO_MS);
    this.#pending.set(thread_id, { timer, withdraw });
  }

  /** @param {string} thread_id whose deletion is not to come any more */
  cancel(thread_id) {
    const removal = this.#pending.get(thread_id);
    if (!removal) return;
    clearTimeout(removal.timer);
    removal.withdraw();
    this.#pending.delete(thread_id);
  }

  /** Delete all of them now: the page is about to be gone. */
  flush() {
    for (const thread_id of this.ids) {
      this.cancel(thread_id);
      this.#owner.removeAtOnce(thread_id);
    }
  }
}
