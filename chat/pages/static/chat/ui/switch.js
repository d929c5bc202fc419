/** ‹ 2/3 › between siblings, and the small buttons beside a message. */

import { t } from "../text/strings.js";
import { element, icon, setText } from "./element.js";

/**
 * @param {string} name of an icon
 * @param {string} label
 * @param {() => void} act
 */
export function tool(name, label, act) {
  const button = element(
    "button",
    { type: "button", class: "tool-button", title: label, "aria-label": label },
    icon(name),
  );
  button.addEventListener("click", act);
  return button;
}

/** ‹ 2/3 › between siblings. */
export class Switch {
  #text = element("span", { class: "switch-text" });
  #before;
  #after;
  node;
  /** @type {string[]} */
  #ids = [];
  #at = 0;

  /**
   * @param {"message" | "answer"} what the siblings are
   * @param {(id: string) => void} choose
   */
  constructor(what, choose) {
    const go = (/** @type {number} */ step) => {
      const id = this.#ids[this.#at + step];
      if (id) choose(id);
    };
    this.#before = tool("before", t(`${what}.before`), () => go(-1));
    this.#after = tool("after", t(`${what}.after`), () => go(1));
    this.node = element(
      "span",
      { class: "switch", role: "group", "aria-label": t(`${what}.versions`) },
      this.#before,
      this.#text,
      this.#after,
    );
  }

  /**
   * @param {string[]} ids
   * @param {string} current
   */
  update(ids, current) {
    this.#ids = ids;
    this.#at = ids.indexOf(current);
    this.node.hidden = ids.length < 2;
    setText(this.#text, `${this.#at + 1}/${ids.length}`);
    this.#before.disabled = this.#at <= 0;
    this.#after.disabled = this.#at >= ids.length - 1;
  }

  focus() {
    (this.#before.disabled ? this.#after : this.#before).focus();
  }
}
