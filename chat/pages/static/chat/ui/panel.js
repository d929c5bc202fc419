/** The steps of a run, beside the conversation; on a narrow page a drawer over it. */

import { found, setText } from "./element.js";

/** @typedef {import("./card.js").Card} Card */

export class Panel {
  #node = found("#panel", HTMLElement);
  #main = found("main", HTMLElement);
  #title = found("#panel-title", HTMLElement);
  #body = found("#panel-body", HTMLElement);
  #narrow = matchMedia("(max-width: 52rem)");
  /** @type {Card | null} */
  #card = null;

  constructor() {
    found("#panel-close", HTMLElement).addEventListener("click", () => this.close());
    found("#scrim", HTMLElement).addEventListener("click", () => this.close());
    this.#narrow.addEventListener("change", () => this.#lay());
  }

  /** @returns {boolean} the keys that are typed are meant for it */
  get hasFocus() {
    return this.#card !== null && (this.#narrow.matches || this.#node.contains(document.activeElement));
  }

  /** @param {Card} card whose steps are shown, or left if they are */
  toggle(card) {
    if (this.#card === card) return this.close();
    this.#card?.show(false);
    this.#card = card;
    card.show(true);
    setText(this.#title, card.title);
    this.#body.replaceChildren(card.body);
    this.#body.scrollTop = 0;
    this.#lay();
    this.#title.focus();
  }

  /** Leave the steps of a run that the page no longer shows. */
  update() {
    if (this.#card && !this.#card.node.isConnected) this.close();
  }

  close() {
    const card = this.#card;
    if (!card) return;
    const had = this.hasFocus;
    card.show(false);
    this.#card = null;
    this.#lay();
    this.#body.replaceChildren();
    if (had) (card.node.isConnected ? card.line : found("#composer", HTMLElement)).focus();
  }

  #lay() {
    const shown = this.#card !== null;
    this.#node.hidden = !shown;
    document.body.toggleAttribute("data-panel", shown);
    this.#main.inert = shown && this.#narrow.matches;
  }
}
