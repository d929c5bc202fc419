/** What tells a person that a request is open, wherever they look: the icon of the tab, and the system's notifications. */

import { t } from "../text/strings.js";
import { found } from "./element.js";

/** @typedef {import("../state/model.js").Input} Input */

/** A longer message is cut, in characters. */
const MAX_BODY_CHARACTERS = 200;
const MAX_COUNT = 99;

/** Browsers of phones show notifications of service workers only. */
const PHONE = "(hover: none) and (pointer: coarse)";

/** @returns {boolean} the person was not asked yet whether notifications are wanted */
export const canAskToNotify = () =>
  "Notification" in globalThis && Notification.permission === "default" && !matchMedia(PHONE).matches;

export const askToNotify = () => Notification.requestPermission();

/** The icon of the tab, with the number of requests that wait. */
export class TabIcon {
  #link = found("link[rel=icon]", HTMLLinkElement);
  #plain = this.#link.href;
  #count = 0;

  /** @param {number} count */
  update(count) {
    if (count === this.#count) return;
    this.#count = count;
    this.#link.href = count > 0 ? counted(Math.min(count, MAX_COUNT)) : this.#plain;
  }
}

/**
 * @param {number} count
 * @returns {string} the address of an icon
 */
function counted(count) {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#f2b84b"/>
    <text x="16" y="24" text-anchor="middle" font-family="sans-serif" font-weight="700" font-size="${count > 9 ? 19 : 24}" fill="#1d2022">${count}</text></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

/** Tells of requests that open while nobody looks at the page. */
export class Notifier {
  /** @type {Set<string> | null} ids of the requests that were open before; null: not known yet */
  #known = null;
  #tell;
  #open;

  /**
   * @param {(input: Input) => void} tell one that opens while the page is looked at
   * @param {(input: Input) => void} open show it
   */
  constructor(tell, open) {
    this.#tell = tell;
    this.#open = open;
  }

  /** @param {Input[]} waiting */
  update(waiting) {
    const known = this.#known;
    this.#known = new Set(waiting.map(({ id }) => id));
    if (!known) return;
    for (const input of waiting) {
      if (known.has(input.id)) continue;
      if (document.hidden) this.#notify(input);
      else this.#tell(input);
    }
  }

  /** @param {Input} input */
  #notify(input) {
    if (!("Notification" in globalThis) || Notification.permission !== "granted") return;
    const { message, agent_name, id } = input;
    const body = [...message].slice(0, MAX_BODY_CHARACTERS).join("");
    try {
      // The tag lets several tabs show one notification.
      const shown = new Notification(t("notification", { agent: agent_name }), { body, tag: id });
      shown.onclick = () => {
        focus();
        shown.close();
        this.#open(input);
      };
    } catch {
      // On a phone there is none.
    }
  }
}
