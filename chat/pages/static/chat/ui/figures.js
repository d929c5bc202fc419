/** Figures as they are set: columns of a table to one side with their decimal points in line, and changes with a sign. */

import { LOCALE } from "../text/strings.js";
import { element } from "./element.js";

/** A number with its sign, currency before it and unit behind it. */
const FIGURE =
  /^(?<sign>[+\-−])?(?:[A-Z]{3}|[A-Z]{0,2}\p{Sc})?\s?(?<number>\d[\d,. \u00a0\u202f]*)(?<unit>\s?(?:%|×|\p{Sc}|\p{L}{1,12}(?:\/\p{L}{1,12})?))?$/u;
const NOTHING = /^[-–—]?$/;
/** Longer fractions are not brought in line with shorter ones. */
const MAX_FRACTION = 6;

/**
 * @param {Element} cell
 * @returns {{sign: string, fraction: string, unit: string} | null} null: it is no figure
 */
function figureOf(cell) {
  const found = FIGURE.exec((cell.textContent ?? "").trim())?.groups;
  if (!found) return null;
  const number = found.number.trim();
  const fraction = /[.,](\d{1,2}|\d{4,})$/.exec(number)?.[0] ?? /\.\d+$/.exec(number)?.[0] ?? "";
  return { sign: found.sign?.replace("−", "-") ?? "", fraction, unit: found.unit ?? "" };
}

/**
 * Set the columns of figures to the side where their ends are compared. A column that says its side keeps it.
 * @param {HTMLTableElement} table
 */
export function setFigures(table) {
  const [head, ...rows] = [...table.rows].map(({ cells }) => [...cells]);
  for (let at = 1; at < (head?.length ?? 0); at += 1) {
    const cells = rows.flatMap((row) => row[at] ?? []);
    if (head[at].hasAttribute("align")) continue;
    const found = cells.map(figureOf);
    const isColumn =
      found.some(Boolean) && cells.every((cell, row) => found[row] || NOTHING.test((cell.textContent ?? "").trim()));
    if (!isColumn) continue;
    for (const cell of [head[at], ...cells]) cell.classList.add("figure");
    const isChange = found.some((one) => one?.sign === "+") || found.some((one) => one?.sign === "-");
    const fractions = found.flatMap((one) => (one && !one.unit ? [one.fraction] : []));
    const longest = fractions.reduce((most, one) => (one.length > most.length ? one : most), "");
    found.forEach((one, row) => {
      if (!one) return;
      if (isChange && one.sign) cells[row].dataset.sign = one.sign;
      const missing = longest.slice(one.fraction.length);
      if (!one.unit && missing && longest.length <= MAX_FRACTION) cells[row].dataset.pad = missing;
    });
  }
}

const PERCENT = new Intl.NumberFormat(LOCALE, { style: "percent", signDisplay: "exceptZero" });

/**
 * A change, told by its sign and an arrow as well as by its colour.
 * @param {number} percent
 */
export const delta = (percent) =>
  element(
    "span",
    { class: "delta", "data-sign": percent < 0 ? "-" : "+", dir: "ltr" },
    PERCENT.format(percent / 100).replace("-", "−"),
  );
