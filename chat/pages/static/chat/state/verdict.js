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
 * @property {Step[]} steps at most MAX_STEPS, the first to be done first
 * @property {Confidence} confidence
 *
 * @typedef {object} Step what to do, and what it would save
 * @property {Lever} lever of which an answer has one step
 * @property {string} text what it would save, without marks
 * @property {string} line of the answer's text that says the same
 *
 * @typedef {"failures" | "cache" | "batch" | "output" | "model"} Lever
 *
 * @typedef {object} Confidence what the figure rests on
 * @property {number} rows of files; 0: what was said in the message
 * @property {string} priced the day of the price list, as a date; empty: no list price is in it
 * @property {boolean} isEstimate a step rests on an assumption
 */

/** @type {Lever[]} in the order in which they are done, where nothing else tells: first what changes no answer */
const LEVERS = ["failures", "cache", "batch", "output", "model"];
const MAX_STEPS = 3;

/**
 * @param {any} one
 * @returns {one is Figure & {id: string}}
 */
const isFigure = (one) =>
  ["id", "label", "text", "unit", "formula"].every((name) => typeof one?.[name] === "string") &&
  Number.isFinite(one.value);

/** @typedef {{lever: Lever, text: string, proven: boolean, high: number}} Measure */

/**
 * @param {any} one
 * @returns {one is Measure}
 */
const isMeasure = (one) => LEVERS.includes(one?.lever) && typeof one.text === "string" && Number.isFinite(one.high);

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
  /** @type {Measure[]} */
  const measures = Array.isArray(result.measures) ? result.measures.filter(isMeasure) : [];
  const dates = (Array.isArray(figure.prices) ? figure.prices : []).flatMap(
    (/** @type {unknown} */ price) => /\d{4}-\d{2}-\d{2}$/.exec(String(price)) ?? [],
  );
  const days = dates.filter((/** @type {string} */ one) => !Number.isNaN(Date.parse(one)));
  const beside = Array.isArray(named.beside) ? named.beside : [];
  return {
    figure,
    compared: comparable ? { before, after } : null,
    beside: beside.flatMap((/** @type {unknown} */ id) => figures.get(id) ?? []),
    steps: steps(measures),
    confidence: {
      rows: Number.isInteger(figure.rows) ? figure.rows : 0,
      priced: days.sort().at(0) ?? "",
      isEstimate: steps(measures).length > 0 && measures.some(({ proven }) => !proven),
    },
  };
}

/**
 * @param {Measure[]} measures
 * @returns {Step[]} one for each lever: what rows show comes first, then what changes no answer
 */
function steps(measures) {
  const rank = (/** @type {Measure} */ { lever, proven }) => (proven ? 0 : LEVERS.length) + LEVERS.indexOf(lever);
  const sorted = [...measures].sort((one, other) => rank(one) - rank(other) || other.high - one.high);
  const first = sorted.filter(({ lever }, at) => sorted.findIndex((one) => one.lever === lever) === at);
  return first
    .slice(0, MAX_STEPS)
    .map(({ lever, text }) => ({ lever, text: text.replace(/\\([^\w\s])/g, "$1"), line: `- ${text}\n` }));
}

/**
 * @param {Figure} before
 * @param {Figure} after
 * @returns {number} the change in percent of what was before, without decimals
 */
export const change = (before, after) => Math.round((after.value / before.value - 1) * 100);

/**
 * @param {string} text Markdown
 * @param {Verdict | null} verdict
 * @returns {string} the text without the lines that the verdict has as its steps
 */
export const withoutSteps = (text, verdict) =>
  (verdict?.steps ?? []).reduce((rest, { line }) => rest.replace(line, ""), text);

/**
 * Tell the first paragraph of an answer from the rest, for a verdict has it as its sentence.
 * @param {string} text Markdown
 * @returns {[string, string]}
 */
export function sentenceOf(text) {
  const end = text.indexOf("\n\n");
  return end < 0 ? [text, ""] : [text.slice(0, end), text.slice(end + 2)];
}
