/** What a person has changed in a text that was proposed. */

import { difference, excerpt } from "../state/difference.js";
import { element } from "./element.js";
import { exact } from "./values.js";

const TAGS = /** @type {const} */ ({ same: "span", removed: "del", added: "ins" });

/**
 * @param {string} before
 * @param {string} after
 * @returns {HTMLElement[]} the parts of the text; far from a change they are shortened
 */
export const changes = (before, after) =>
  excerpt(difference(before, after)).map(({ kind, text }) => element(TAGS[kind], {}, exact(text)));
