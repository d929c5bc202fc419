/** What the browser keeps for this site. */

import { BASE } from "./base.js";

/**
 * The name under which something is kept in the browser: two sites on one host share its storage and its locks.
 * @param {string} name
 */
export const named = (name) => (BASE ? `${name} ${BASE}` : name);

/**
 * Let text outlive a reload of this tab. If the browser's storage is full, it does not.
 * @param {string} name
 * @param {string} text
 */
export function keep(name, text) {
  try {
    sessionStorage.setItem(name, text);
  } catch {
    sessionStorage.removeItem(name);
  }
}

/**
 * What is being written, by an id, which outlives a reload of this tab.
 * @template T
 */
export class Drafts {
  #name;

  /** @param {string} name */
  constructor(name) {
    this.#name = named(name);
  }

  /** @returns {Record<string, T>} */
  #all() {
    return JSON.parse(sessionStorage.getItem(this.#name) ?? "{}");
  }

  /**
   * @param {string} id
   * @returns {T | undefined}
   */
  get(id) {
    return this.#all()[id];
  }

  /**
   * @param {string} id
   * @param {T | null} draft null: it is not being written any more
   */
  set(id, draft) {
    const { [id]: _, ...others } = this.#all();
    keep(this.#name, JSON.stringify(draft === null ? others : { ...others, [id]: draft }));
  }

  clear() {
    sessionStorage.removeItem(this.#name);
  }
}
