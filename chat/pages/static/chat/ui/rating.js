/** What the user thinks of an answer: good or bad, and in words. */

import { t } from "../text/strings.js";
import { tell } from "./browser.js";
import { element, setText } from "./element.js";
import { tool } from "./switch.js";

/** @typedef {import("../state/model.js").Feedback} Feedback */

/** The most characters of a comment, as the server takes them. */
const MAX_COMMENT = 2_000;

/** Two buttons among an answer's tools, and a form for the words below them. */
export class Rating {
  #good = tool("good", t("rating.good"), () => this.#press(1));
  #bad = tool("bad", t("rating.bad"), () => this.#press(-1));
  node = element("span", { class: "rating", role: "group", "aria-label": t("rating") }, this.#good, this.#bad);
  #asked = element("span");
  #field = element("textarea", {
    rows: "2",
    dir: "auto",
    maxlength: String(MAX_COMMENT),
    placeholder: t("rating.optional"),
  });
  form = element("form", { class: "rating-form" });
  #rate;
  #changed;
  /** @type {Feedback | null} */
  #shown = null;
  #answer_id = "";
  isOpen = false;

  /**
   * @param {(answer_id: string, rating: 1 | -1 | null, comment: string) => Promise<boolean>} rate null: take it back
   * @param {() => void} changed the form has come or gone
   */
  constructor(rate, changed) {
    this.#rate = rate;
    const withdraw = element("button", { type: "button", class: "link" }, t("rating.withdraw"));
    const cancel = element("button", { type: "button", class: "plain" }, t("rating.close"));
    this.form.append(
      element("label", {}, this.#asked, this.#field),
      element("p", { class: "buttons" }, withdraw, cancel, element("button", { type: "submit" }, t("send"))),
    );
    this.#changed = changed;
    withdraw.addEventListener("click", () => void this.#send(null, ""));
    cancel.addEventListener("click", () => this.#close());
    this.form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.#close();
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#send(this.#shown?.rating ?? 1, this.#field.value.trim());
    });
  }

  /**
   * @param {string} answer_id
   * @param {Feedback | null} feedback
   */
  update(answer_id, feedback) {
    this.node.hidden = answer_id === "";
    if (answer_id !== this.#answer_id) this.isOpen = false;
    this.#answer_id = answer_id;
    if (feedback === this.#shown) return;
    this.#shown = feedback;
    const rating = feedback?.rating;
    this.#good.ariaPressed = String(rating === 1);
    this.#bad.ariaPressed = String(rating === -1);
    setText(this.#asked, rating === -1 ? t("rating.bad.why") : t("rating.good.why"));
  }

  /** @param {boolean} isOpen */
  #show(isOpen) {
    this.isOpen = isOpen;
    this.#changed();
  }

  /** @param {1 | -1} rating */
  async #press(rating) {
    if (this.#shown?.rating !== rating && !(await this.#rate(this.#answer_id, rating, ""))) return;
    this.#field.value = this.#shown?.rating === rating ? (this.#shown?.comment ?? "") : "";
    this.#show(true);
    this.#field.focus();
  }

  /**
   * @param {1 | -1 | null} rating
   * @param {string} comment
   */
  async #send(rating, comment) {
    if (!(await this.#rate(this.#answer_id, rating, comment))) return;
    const button = this.#close();
    if (rating !== null) tell(button, t("rating.thanks"));
  }

  #close() {
    const button = this.#shown?.rating === -1 ? this.#bad : this.#good;
    this.#show(false);
    button.focus();
    return button;
  }
}
