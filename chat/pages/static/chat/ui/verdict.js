/** The card that an answer begins with: its figure, the sentence about it, what changes, and the chart. */

import { writer } from "../markdown/lazy.js";
import { change } from "../state/verdict.js";
import { day, t } from "../text/strings.js";
import { arrange, element, icon } from "./element.js";
import { delta } from "./figures.js";

/**
 * @typedef {import("../state/verdict.js").Figure} Figure
 * @typedef {import("../state/verdict.js").Verdict} Verdict
 * @typedef {import("../state/verdict.js").Confidence} Confidence
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

/**
 * @param {Confidence} confidence
 * @returns {string} how far the figure can be trusted, and why
 */
function trust({ rows, priced, isEstimate }) {
  const values = { count: rows, day: priced && day(priced) };
  const kinds = /** @type {const} */ ([
    ["verdict.confidence.stated", "verdict.confidence.stated.priced"],
    ["verdict.confidence.rows", "verdict.confidence.rows.priced"],
  ]);
  const text = t(kinds[rows > 0 ? 1 : 0][priced ? 1 : 0], values);
  return isEstimate ? `${text} ${t("verdict.confidence.estimate")}` : text;
}

export class VerdictCard {
  /** @type {import("../markdown/markdown.js").Writing | null} */
  #sentence = null;
  #figures;
  #bars;
  #steps;
  /** @type {Map<string, HTMLInputElement>} */
  #boxes = new Map();
  #confidence;
  node = element("section", { class: "verdict", "aria-label": t("verdict") });

  /**
   * @param {Verdict} verdict
   * @param {(name: string, isDone: boolean) => void} check a step
   */
  constructor({ figure, compared, beside, steps, confidence }, check) {
    this.#figures = element(
      "dl",
      { class: "figures" },
      stated(figure, "asked"),
      ...beside.map((one) => stated(one, "beside")),
    );
    this.#bars = compared && bars(compared);
    this.#steps = element("fieldset", { class: "steps-to-do" }, element("legend", {}, t("verdict.steps")));
    for (const { lever, text } of steps) {
      const box = element("input", { type: "checkbox" });
      box.addEventListener("change", () => check(lever, box.checked));
      this.#boxes.set(lever, box);
      const about = element("span", { class: "dim", dir: "auto" }, text);
      this.#steps.append(element("label", {}, box, element("span", {}, t(`verdict.step.${lever}`), about)));
    }
    this.#confidence = element("p", { class: "confidence dim" }, icon("eye"), trust(confidence));
  }

  /**
   * @param {string} answer_id empty: the answer is not kept yet, nor what is checked
   * @param {import("../state/model.js").CheckedStep[]} checklist of all answers
   */
  check(answer_id, checklist) {
    for (const [name, box] of this.#boxes) {
      box.disabled = answer_id === "";
      box.checked = checklist.some((one) => one.message_id === answer_id && one.name === name);
    }
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
    const steps = this.#boxes.size > 0 && this.#steps;
    const wanted = [this.#figures, this.#sentence?.node, this.#bars, steps, ...below, this.#confidence];
    arrange(this.node, /** @type {HTMLElement[]} */ (wanted.filter(Boolean)));
  }
}
