/** What can be done with a table: copied for a sheet, or saved as CSV. */

import { csvFormatRows, tsvFormatRows } from "d3-dsv";
import { t } from "../text/strings.js";
import { copy, save } from "./browser.js";
import { element, icon } from "./element.js";

/** A sheet takes such a text for a formula, which an agent's text must not be. */
const FORMULA = /^[=+@\t\r]|^-(?![\d.])/;

/**
 * @param {HTMLTableElement} table
 * @returns {string[][]} the texts of its cells
 */
const cells = (table) =>
  [...table.rows].map((row) =>
    [...row.cells].map(({ textContent }) => {
      const text = (textContent ?? "").trim();
      return FORMULA.test(text) ? `'${text}` : text;
    }),
  );

/**
 * @param {string} title
 * @param {string} ending
 */
export function fileName(title, ending) {
  const name = title
    .replace(/[^\p{L}\p{N},.-]+/gu, " ")
    .trim()
    .slice(0, 60);
  return `${name || t("table.file")}.${ending}`;
}

/**
 * The buttons of a table.
 * @param {HTMLTableElement} table
 * @param {() => string} title of the file
 */
export function tableTools(table, title) {
  const copied = element(
    "button",
    { type: "button", class: "tool-button", title: t("table.copy"), "aria-label": t("table.copy") },
    icon("copy"),
  );
  copied.addEventListener("click", () => void copy(tsvFormatRows(cells(table)), copied));
  const saved = element(
    "button",
    { type: "button", class: "tool-button", title: t("table.save"), "aria-label": t("table.save") },
    icon("download"),
  );
  saved.addEventListener("click", () => {
    // The mark tells a sheet that this is UTF-8.
    save(fileName(title(), "csv"), new Blob(["\ufeff", csvFormatRows(cells(table))], { type: "text/csv" }));
  });
  return element("div", { class: "table-tools" }, copied, saved);
}
