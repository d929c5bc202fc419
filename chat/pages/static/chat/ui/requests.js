/** The input requests of a run: those that were resolved, one line each, and those that are open, as cards. */

import { arrange, element } from "./element.js";
import { RequestCard } from "./request.js";
import { resolvedRequest } from "./resolved.js";

/**
 * @typedef {import("../state/model.js").Request} Request
 * @typedef {import("../state/model.js").State} State
 * @typedef {import("./request.js").Decider} Decider
 */

/** One request: a card while it is open, then a line. */
export class Asked {
  #decider;
  /** @type {RequestCard | null} */
  #card = null;
  /** @type {HTMLDetailsElement | null} */
  #line = null;

  /** @param {Decider} decider */
  constructor(decider) {
    this.#decider = decider;
  }

  /** @returns {HTMLElement} */
  get node() {
    return this.#line ?? /** @type {RequestCard} */ (this.#card).node;
  }

  get isOpen() {
    return this.#line === null;
  }

  /**
   * @param {Request} request
   * @param {State["answers"]} answers that were given here
   * @param {boolean} online
   * @param {number} now the server's time in milliseconds
   */
  update(request, answers, online, now) {
    if (this.#line) return;
    if (!request.resolution) {
      this.#card ??= new RequestCard(request, this.#decider);
      this.#card.update(answers.get(request.id), online);
      return this.#card.tick(now);
    }
    const line = resolvedRequest(request, request.resolution, this.#decider);
    // Its button has the focus, and goes. Only what is in the page takes the focus, and this is put there later.
    if (this.#card?.node.contains(document.activeElement)) {
      queueMicrotask(() => line.querySelector("summary")?.focus({ preventScroll: true }));
    }
    this.#card?.remove();
    this.#card = null;
    this.#line = line;
  }

  /** @param {number} now */
  tick(now) {
    this.#card?.tick(now);
  }
}

export class Requests {
  open = element("div", { class: "requests" });
  resolved = element("div", { class: "requests" });
  #decider;
  /** @type {Map<string, Asked>} */
  #asked = new Map();

  /** @param {Decider} decider */
  constructor(decider) {
    this.#decider = decider;
  }

  /**
   * @param {Request[]} requests
   * @param {State["answers"]} answers that were given here
   * @param {boolean} online
   * @param {number} now the server's time in milliseconds
   */
  update(requests, answers, online, now) {
    const shown = requests.map((request) => {
      const asked = this.#asked.get(request.id) ?? new Asked(this.#decider);
      this.#asked.set(request.id, asked);
      asked.update(request, answers, online, now);
      return asked;
    });
    for (const [list, isOpen] of /** @type {const} */ ([
      [this.open, true],
      [this.resolved, false],
    ])) {
      arrange(
        list,
        shown.filter((asked) => asked.isOpen === isOpen).map(({ node }) => node),
      );
    }
  }

  /** @param {number} now */
  tick(now) {
    for (const asked of this.#asked.values()) asked.tick(now);
  }
}
