/** The card that an answer begins with: its figure, the sentence about it, what changes, and the chart. */

import { writer } from "../markdown/lazy.js";
import { change } from "../state/verdict.js";
import { t } from "../text/strings.js";
import { arrange, element } from "./element.js";
import { delta } from "./figures.js";

/**
 * @typedef {import("../state/verdict.js").Figure} Figure
 * @typedef {import("../state/verdict.js").Verdict} Verdict
 */

/**
 * @param {Figure} figure
 * @param {string} kind
 */
const stated = ({ label, text, formula }, kind) =>
  element(
    "div",
    { class: kind, title: formula },
    element("dt", { dir: "auto" }, label),
    element("dd", { dir: "ltr" }, text),
  );

/** @param {{before: Figure, after: Figure}} compared */
function bars({ before, after }) {
  const most = Math.max(before.value, after.value);
  const percent = change(before, after);
  return element(
    "dl",
    { class: "compared" },
    ...[before, after].map((one) => {
      const bar = element("span", { class: "share", "aria-hidden": "true" });
      bar.style.setProperty("--share", `${(one.value / most) * 100}%`);
      return element(
        "div",
        { class: one === after ? "after" : "before", title: one.formula },
        element("dt", { dir: "auto" }, one.label),
        element("dd", { dir: "ltr" }, bar, element("span", { class: "amount" }, one.text)),
      );
    }),
    percent === 0
      ? null
      : element(
          "div",
          { class: "change" },
          element("dt", { class: "unseen" }, t("verdict.change")),
          element("dd", {}, delta(percent)),
        ),
  );
}

export class VerdictCard {
  /** @type {import("../markdown/markdown.js").Writing | null} */
  #sentence = null;
  #figures;
  #bars;
  node = element("section", { class: "verdict", "aria-label": t("verdict") });

  /** @param {Verdict} verdict */
  constructor({ figure, compared, beside }) {
    this.#figures = element(
      "dl",
      { class: "figures" },
      stated(figure, "asked"),
      ...beside.map((one) => stated(one, "beside")),
    );
    this.#bars = compared && bars(compared);
  }

  /**
   * @param {string} sentence Markdown
   * @param {(HTMLElement | false | undefined)[]} below what follows it
   */
  show(sentence, below) {
    const Writing = writer();
    if (typeof Writing !== "string") {
      this.#sentence ??= new Writing();
      this.#sentence.write(sentence, true, Infinity);
    }
    const wanted = [this.#figures, this.#sentence?.node, this.#bars, ...below];
    arrange(this.node, /** @type {HTMLElement[]} */ (wanted.filter(Boolean)));
  }
}
