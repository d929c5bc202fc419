/** The sidebar on a narrow page: a drawer over the conversation. */

import { found } from "./element.js";

export class Drawer {
  #page = document.body;
  #sidebar = found("#sidebar", HTMLElement);
  #main = found("main", HTMLElement);
  #menu = found("#menu", HTMLButtonElement);
  #narrow = matchMedia("(max-width: 52rem)");

  constructor() {
    this.#menu.addEventListener("click", () => this.#show(true));
    found("#scrim", HTMLElement).addEventListener("click", () => this.close());
    found("#menu-close", HTMLElement).addEventListener("click", () => this.close());
    this.#narrow.addEventListener("change", () => this.close());
    this.close();
  }

  get isOpen() {
    return this.#page.hasAttribute("data-drawer");
  }

  close() {
    this.#show(false);
  }

  /** @param {boolean} shown */
  #show(shown) {
    const had = this.isOpen;
    this.#page.toggleAttribute("data-drawer", shown);
    this.#menu.setAttribute("aria-expanded", String(shown));
    this.#sidebar.inert = this.#narrow.matches && !shown;
    this.#main.inert = shown;
    if (shown) found("#new-thread", HTMLElement).focus();
    else if (had) this.#menu.focus();
  }
}
