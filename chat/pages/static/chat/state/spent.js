/** What the models of a run have used up. An agent reports it: anything that is no figure is left out. Pure. */

/**
 * @typedef {object} ModelSpent what one model has used up
 * @property {string} model
 * @property {number} requests
 * @property {number} input tokens, the cached ones among them
 * @property {number} cached tokens
 * @property {number} output tokens
 * @property {number | null} cost in dollars; null: nobody knows it
 *
 * @typedef {{tokens: number, cost: number | null, models: ModelSpent[]}} Spent
 */

/** @param {unknown} value */
const amount = (value) => (typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : null);

/**
 * @param {unknown} usage that of `agent_completed`
 * @returns {Spent | null} the totals, and those of each model; null if no model was used
 */
export function spent(usage) {
  const all = /** @type {Record<string, unknown>} */ (usage && typeof usage === "object" ? usage : {});
  const tokens = (amount(all.input_tokens) ?? 0) + (amount(all.output_tokens) ?? 0);
  if (tokens === 0) return null;
  const models = Array.isArray(all.models) ? all.models.filter((each) => typeof each?.model === "string") : [];
  return {
    tokens,
    cost: amount(all.cost_usd),
    models: models.map((each) => ({
      model: each.model,
      requests: amount(each.requests) ?? 0,
      input: amount(each.input_tokens) ?? 0,
      cached: amount(each.cached_tokens) ?? 0,
      output: amount(each.output_tokens) ?? 0,
      cost: amount(each.cost_usd),
    })),
  };
}
