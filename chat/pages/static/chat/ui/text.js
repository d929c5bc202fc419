/** Text that a person types or reads. */

import { LOCALE } from "../text/strings.js";

/** What shows nothing: spaces, controls, and letters without width or ink. */
const INVISIBLE = /[\s\p{Cc}\p{Z}\p{Default_Ignorable_Code_Point}\u2800\ufff9-\ufffb\u{1d159}]/u;

/**
 * @param {string} text
 * @returns {boolean} it has something to be seen
 */
export function visible(text) {
  for (const letter of text) if (!INVISIBLE.test(letter)) return true;
  return false;
}

/**
 * A message as it was typed: only the empty lines at its end are left out.
 * @param {string} text
 */
export const typed = (text) => text.replace(/[\r\n]+$/, "");

/** A message of more characters or lines than these is shown folded. */
const MAX_UNFOLDED_CHARACTERS = 1_500;
const MAX_UNFOLDED_LINES = 20;

/**
 * @param {string} text
 * @returns {boolean} it would fill the screen
 */
export const long = (text) =>
  text.length > MAX_UNFOLDED_CHARACTERS || text.split("\n", MAX_UNFOLDED_LINES + 1).length > MAX_UNFOLDED_LINES;

const TENTHS = new Intl.NumberFormat(LOCALE, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/**
 * @param {number} bytes
 * @returns {string}
 */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${Math.round(bytes / 1024)} KB`;
  return `${TENTHS.format(bytes / 1024 / 1024)} MB`;
}
