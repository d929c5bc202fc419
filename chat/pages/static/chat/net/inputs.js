/** Reads the list of open input requests, whenever something may have changed it. */

import { inputOf } from "../state/inputs.js";

/** Changes within this time lead to one reading, in milliseconds. */
const TOGETHER_MS = 150;
/** How soon reading is tried again where the server is not well, in milliseconds. */
const RETRY_MS = 5_000;

export class Inputs {
  #api;
  #store;
  #attempt;
  #isReading = false;
  #isStale = false;
  /** The list has been read. */
  listed = false;

  /**
   * @param {import("./api.js").Api} api
   * @param {import("../state/store.js").Store} store
   * @param {import("./loader.js").Owner["attempt"]} attempt
   */
  constructor(api, store, attempt) {
    this.#api = api;
    this.#store = store;
    this.#attempt = attempt;
  }

  /** Read the list soon. */
  reload() {
    if (this.#isReading) {
      this.#isStale = true;
      return;
    }
    this.#isReading = true;
    setTimeout(() => void this.#reload(), TOGETHER_MS);
  }

  async #reload() {
    this.#isStale = false;
    let delay = 0;
    await this.#attempt(
      () => this.#read(),
      ({ status }) => {
        // Without a connection the next greeting has it read.
        if (status === 429 || status >= 500) delay = RETRY_MS;
      },
    );
    this.#isReading = false;
    if (delay) setTimeout(() => this.reload(), delay);
    else if (this.#isStale) this.reload();
  }

  async #read() {
    const lists = await Promise.all([this.#api.inputs("owner"), this.#api.inputs("approver")]);
    const inputs = lists.flatMap((rows, index) => rows.map((row) => inputOf(row, index === 0)));
    const open = new Set(inputs.map(({ id }) => id));
    const known = [...this.#store.state.inputs.values()];
    const over = known.filter(({ id, resolution }) => resolution === null && !open.has(id));
    for (const { id, own } of over) {
      const row = await this.#api.input(id);
      if (row) inputs.push(inputOf(row, own));
    }
    this.listed = true;
    this.#store.dispatch({ type: "inputs_listed", inputs });
  }
}
