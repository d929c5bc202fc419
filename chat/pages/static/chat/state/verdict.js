// The figure that an answer begins with, and those beside it, as the result of the advisor's run names them. Pure.

/**
 * @typedef {object} Figure
 * @property {string} label
 * @property {string} text the number with its unit
 * @property {number} value
 * @property {string} unit
 * @property {string} formula in words
 *
 * @typedef {object} Verdict
 * @property {Figure} figure that was asked for
 * @property {{before: Figure, after: Figure} | null} compared of one unit, neither below zero
 * @property {Figure[]} beside
 */

/**
 * @param {any} one
 * @returns {one is Figure & {id: string}}
 */
const isFigure = (one) =>
  ["id", "label", "text", "unit", "formula"].every((name) => typeof one?.[name] === "string") &&
  Number.isFinite(one.value);

/**
 * @param {any} result of a run
 * @returns {Verdict | null} null: the answer is about no single figure
 */
export function verdictOf(result) {
  const named = result?.verdict;
  if (!named || typeof named !== "object" || !Array.isArray(result.figures)) return null;
  const figures = new Map(result.figures.filter(isFigure).map((/** @type {any} */ one) => [one.id, one]));
  const figure = figures.get(named.figure);
  if (!figure) return null;
  const [before, after] = [figures.get(named.before), figures.get(named.after)];
  const comparable = before && after && before.unit === after.unit && before.value > 0 && after.value >= 0;
  const beside = Array.isArray(named.beside) ? named.beside : [];
  return {
    figure,
    compared: comparable ? { before, after } : null,
    beside: beside.flatMap((/** @type {unknown} */ id) => figures.get(id) ?? []),
  };
}

/**
 * @param {Figure} before
 * @param {Figure} after
 * @returns {number} the change in percent of what was before, without decimals
 */
export const change = (before, after) => Math.round((after.value / before.value - 1) * 100);

/**
 * Tell the first paragraph of an answer from the rest, for a verdict has it as its sentence.
 * @param {string} text Markdown
 * @returns {[string, string]}
 */
export function sentenceOf(text) {
  const end = text.indexOf("\n\n");
  return end < 0 ? [text, ""] : [text.slice(0, end), text.slice(end + 2)];
}
