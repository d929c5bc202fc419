/** The state of the page, and the listeners to its changes. */

import { EMPTY } from "./model.js";
import { reduce } from "./reducer.js";

/**
 * @typedef {import("./model.js").State} State
 * @typedef {import("../net/frames.js").ServerFrame | import("./model.js").Own} Event
 */

export class Store {
  state = EMPTY;
  #changed;

  /** @param {(state: State, before: State) => void} changed called after each event */
  constructor(changed) {
    this.#changed = changed;
  }

  /** @param {Event} event */
  dispatch(event) {
    const before = this.state;
    this.state = reduce(before, event);
    this.#changed(this.state, before);
  }

  /** @param {Event[]} events applied without anybody hearing of it */
  replay(events) {
    this.state = events.reduce(reduce, this.state);
  }

  /**
   * @param {string | null} id
   * @returns {import("./model.js").Thread | undefined}
   */
  thread(id) {
    return id ? this.state.threads.get(id) : undefined;
  }

  /**
   * @param {string} id of a thread
   * @returns {number} the last seq of its log that is known; 0: none
   */
  last(id) {
    return this.thread(id)?.last ?? 0;
  }
}
