/** Values of a request as a table. Their text is untrusted: it is shown as it is, and letters that hide are made seen. */

import { t } from "../text/strings.js";
import { element } from "./element.js";

/** Letters that turn the direction of others around. */
const TURNING = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;
/** And those without width or ink. */
const HIDDEN = /[\p{Default_Ignorable_Code_Point}\u061c\u2028\u2029\u2800\ufff9-\ufffb]|(?![\t\n\r])\p{Cc}/gu;

/** Letters that a word of Latin ones should not have: they look like those, or are forms of them. */
const FOREIGN = /[\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}]/u;
const WORD = /[\p{L}\p{M}\p{N}]+/gu;

/** @param {string} letter */
const named = (letter) => `[U+${(letter.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}]`;

/**
 * @param {string} text
 * @returns {string} letters that turn others around are replaced by their code
 */
export const unturned = (text) => text.replace(TURNING, named);

/**
 * @param {string} text
 * @returns {string} every letter that cannot be seen is replaced by its code
 */
export const exact = (text) => text.replace(HIDDEN, named).replace(WORD, unmixed);

/**
 * @param {string} word
 * @returns {string} letters that only look like Latin ones are replaced by their code
 */
function unmixed(word) {
  if (/^[\x00-\x7f]*$/.test(word)) return word;
  const isLatin = /[a-z]/i.test(word);
  const isForm = (/** @type {string} */ letter) =>
    !/[\x00-\x7fªº]|\P{L}/u.test(letter) && /^[a-z]+$/i.test(letter.normalize("NFKC"));
  return [...word]
    .map((letter) => (isForm(letter) || (isLatin && FOREIGN.test(letter)) ? named(letter) : letter))
    .join("");
}

/**
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * @param {unknown} value
 * @returns {boolean} it has a whole number of more digits than JavaScript keeps: what it has of it is rounded
 */
export function isRounded(value) {
  if (typeof value === "object" && value !== null) return Object.values(value).some(isRounded);
  if (typeof value !== "number" || Number.isSafeInteger(value)) return false;
  return Number.isInteger(value) || !Number.isFinite(value);
}

/**
 * @param {unknown} value
 * @returns {string} on one line
 */
export function brief(value) {
  if (typeof value === "string") return unturned(value);
  if (!isObject(value)) return unturned(json(value, 0));
  return Object.entries(value)
    .map(([name, one]) => `${unturned(name)}: ${typeof one === "string" ? unturned(one) : unturned(json(one, 0))}`)
    .join(", ");
}

/**
 * @param {unknown} value
 * @param {number} indent
 * @returns {string}
 */
function json(value, indent) {
  try {
    return JSON.stringify(value, null, indent) ?? "";
  } catch {
    return t("too_deep");
  }
}

/**
 * @param {unknown} values
 * @param {string} caption
 * @param {Record<string, any> | null} schema whose titles name the rows
 * @returns {HTMLElement}
 */
export function valuesTable(values, caption, schema) {
  const rows = isObject(values) ? Object.entries(values) : [["", values]];
  const body = rows.map(([name, value]) => {
    const title = schema?.properties?.[String(name)]?.title;
    return element(
      "tr",
      {},
      element("th", { scope: "row", dir: "auto" }, exact(typeof title === "string" && title ? title : String(name))),
      element("td", {}, cell(value)),
    );
  });
  const table = element("table", {}, element("caption", {}, caption), element("tbody", {}, ...body));
  return element("div", { class: "values", role: "region", "aria-label": caption, tabindex: "0" }, table);
}

/** @param {unknown} value */
function cell(value) {
  if (value === "") return element("span", { class: "dim" }, t("value.empty"));
  if (typeof value === "string") return element("span", { class: "string", dir: "auto" }, exact(value));
  const shown = element("code", { dir: "ltr" }, exact(json(value, 2)));
  if (!isRounded(value)) return shown;
  return element("span", {}, shown, element("span", { class: "dim" }, ` ${t("value.rounded")}`));
}

/**
 * @param {string} address
 * @returns {HTMLElement}
 */
export function addressLink(address) {
  // As it is visited: a name of other letters than Latin ones has its code.
  const shown = exact(URL.canParse(address) ? new URL(address).href : address);
  if (!/^https?:\/\//i.test(address)) return element("p", { class: "address" }, shown);
  const to = element("a", { href: address, target: "_blank", rel: "noopener noreferrer", dir: "ltr" }, shown);
  return element("p", { class: "address" }, to);
}
