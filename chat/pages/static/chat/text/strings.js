/** Text in the language of the page, and dates and numbers as its reader writes them. The page's import map names the table. */

import strings, { language, server } from "#strings";

/**
 * @typedef {keyof typeof strings} Key
 * @typedef {Partial<Record<Intl.LDMLPluralRule, string>>} Forms
 */

/** The browser's locale, if it is one of the page's language, as "en-GB" is for "en"; else the page's language. */
export const LOCALE = globalThis.navigator?.languages.find((one) => one.split("-")[0] === language) ?? language;

const PLURALS = new Intl.PluralRules(language);
const NUMBERS = new Intl.NumberFormat(LOCALE);
const MOMENT = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "short" });
const DAY = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium" });
const PLACE = /\{(\w+)\}/;

/** @param {number} value */
export const number = (value) => NUMBERS.format(value);

/** @param {string | number | Date} time */
export const moment = (time) => MOMENT.format(new Date(time));

/** @param {string | number | Date} time */
export const day = (time) => DAY.format(new Date(time));

/**
 * @param {Key} key
 * @param {unknown} count chooses among the forms of a plural
 * @returns {string}
 */
function template(key, count) {
  /** @type {string | Forms} */
  const entry = strings[key];
  if (typeof entry === "string") return entry;
  return entry[PLURALS.select(Number(count))] ?? entry.other ?? "";
}

/**
 * A text of the table.
 * @param {Key} key
 * @param {Record<string, string | number>} [values] for its places; a number is written as the reader's locale does
 * @returns {string}
 */
export const t = (key, values = {}) =>
  template(key, values.count)
    .split(PLACE)
    .map((part, at) => (at % 2 === 0 ? part : typeof values[part] === "number" ? number(values[part]) : values[part]))
    .join("");

/**
 * A text of the table with elements in it.
 * @param {Key} key
 * @param {Record<string, Node | string | (Node | string)[]>} values for its places
 * @returns {(Node | string)[]}
 */
export const parts = (key, values) =>
  template(key, undefined)
    .split(PLACE)
    .flatMap((part, at) => (at % 2 === 0 ? part : values[part]))
    .filter((part) => part !== "");

/** @type {[RegExp, string][] | null} */
let known = null;

/** @param {string} message */
function translated(message) {
  known ??= Object.entries(server).map(([english, own]) => [new RegExp(`^${patternOf(english)}$`), own]);
  for (const [pattern, own] of known) {
    const found = pattern.exec(message);
    if (found) return own.replace(/\{(\w+)\}/g, (_, name) => found.groups?.[name] ?? "");
  }
  return null;
}

/** @param {string} english */
const patternOf = (english) =>
  english
    .split(PLACE)
    .map((part, at) => (at % 2 === 0 ? part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&") : `(?<${part}>.+)`))
    .join("");

/**
 * What the server says, in the language of the page where the table has it: as a whole, or each of its sentences.
 * @param {string} message
 * @returns {string}
 */
export function told(message) {
  const whole = translated(message);
  if (whole !== null) return whole;
  const sentences = message.split(/(?<=\.) /).map(translated);
  return sentences.includes(null) ? message : sentences.join(" ");
}
