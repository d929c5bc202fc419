/** The request that an answer rests on, as chips. A chip opens a form with all of them; its answer is a new request. */

import { formOf, messageOf } from "../state/typed.js";
import { t } from "../text/strings.js";
import { element } from "./element.js";
import { Fields } from "./fields.js";
import { unturned } from "./values.js";

/** @typedef {import("../state/typed.js").Understood} Understood */

export class Chips {
  node = element("section", { class: "understood", "aria-label": t("understood") });
  #understood;
  #ask;
  /** @type {HTMLButtonElement[]} */
  #buttons;
  /** @type {HTMLFormElement | null} */
  #form = null;

  /**
   * @param {Understood} understood
   * @param {(content: string) => void} ask send a message
   */
  constructor(understood, ask) {
    this.#understood = understood;
    this.#ask = ask;
    this.#buttons = understood.chips.map(({ field, text }) => {
      const title = t("understood.change");
      const button = element(
        "button",
        { type: "button", class: "chip", title, "aria-expanded": "false", dir: "auto" },
        unturned(text),
      );
      button.addEventListener("click", () => this.#open(field, button));
      return button;
    });
    this.node.append(element("div", { class: "chips" }, ...this.#buttons));
  }

  /**
   * @param {string} field
   * @param {HTMLButtonElement} from
   */
  #open(field, from) {
    this.#close();
    const { schema, values } = formOf(this.#understood);
    const fields = new Fields(schema, values);
    const cancel = element("button", { type: "button", class: "plain" }, t("cancel"));
    const form = element(
      "form",
      { class: "request", novalidate: true, autocomplete: "off", "aria-label": t("understood.change") },
      fields.node,
      element("p", { class: "buttons" }, cancel, element("button", { type: "submit" }, t("understood.send"))),
    );
    const leave = () => {
      this.#close();
      from.focus();
    };
    cancel.addEventListener("click", leave);
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      leave();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const read = fields.read();
      if (!read) return;
      this.#close();
      this.#ask(messageOf(this.#understood, read));
    });
    this.#form = form;
    for (const button of this.#buttons) button.ariaExpanded = String(button === from);
    this.node.append(form);
    const first = form.querySelector(`[data-field="${CSS.escape(field)}"] :is(input, select, textarea)`);
    if (first instanceof HTMLElement) first.focus();
  }

  #close() {
    this.#form?.remove();
    this.#form = null;
    for (const button of this.#buttons) button.ariaExpanded = "false";
  }
}
