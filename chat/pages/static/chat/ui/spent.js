/** What models have used up, in words: of a run, and of the whole conversation in its bar. */

import { spent } from "../state/spent.js";
import { LOCALE, t } from "../text/strings.js";
import { element, found } from "./element.js";

/** @param {number | null} cost in dollars; null: nobody knows it */
function price(cost) {
  if (cost === null) return t("spent.unknown");
  const digits = cost > 0 && cost < 1 ? 4 : 2;
  const exact = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat(LOCALE, { style: "currency", currency: "USD", ...exact }).format(cost);
}

/**
 * @param {unknown} usage
 * @returns {string[]} how many tokens the models have used up, and what they cost
 */
export function used(usage) {
  const all = spent(usage);
  return all ? [t("spent.tokens", { count: all.tokens }), price(all.cost)] : [];
}

/** @param {import("../state/spent.js").ModelSpent} spent */
export function usedBy({ model, requests, input, cached, output, cost }) {
  const values = { model, requests: t("spent.requests", { count: requests }), input, output, cost: price(cost) };
  return cached ? t("spent.model.cached", { ...values, cached }) : t("spent.model", values);
}

/** The totals of the shown conversation; a click lists them by model. */
export class ThreadSpent {
  #button = found("#thread-spent", HTMLButtonElement);
  #total = found("#thread-spent-total", HTMLElement);
  #models = found("#thread-spent-models", HTMLUListElement);
  /** @type {unknown} */
  #usage = null;

  constructor() {
    this.#models.addEventListener("toggle", (event) => {
      if (/** @type {ToggleEvent} */ (event).newState !== "open") return;
      const { bottom, right } = this.#button.getBoundingClientRect();
      this.#models.style.top = `${bottom + 6}px`;
      this.#models.style.left = `${Math.max(8, Math.min(right, innerWidth - 8) - this.#models.offsetWidth)}px`;
    });
  }

  /** @param {unknown} usage of all runs of the conversation; nothing is shown where no model was used */
  update(usage) {
    if (usage === this.#usage) return;
    this.#usage = usage;
    const all = spent(usage);
    this.#button.hidden = all === null;
    if (all === null) this.#models.hidePopover();
    const [tokens, cost] = used(usage);
    this.#total.replaceChildren(...(all ? [element("span", { class: "tokens" }, `${tokens} · `), cost] : []));
    this.#models.replaceChildren(...(all?.models ?? []).map((one) => element("li", { dir: "ltr" }, usedBy(one))));
  }
}
