/** What the models of a run have used up, in words. An agent reports it: anything that is no figure is left out. */

/** @param {unknown} value */
const amount = (value) => (typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : null);

/** @param {number} count */
const number = (count) => count.toLocaleString("en-US");

/** @param {unknown} cost in dollars; null is a price that nobody knows */
function price(cost) {
  const known = amount(cost);
  if (known === null) return "cost unknown";
  return `$${known.toFixed(known > 0 && known < 1 ? 4 : 2)}`;
}

/**
 * @param {unknown} usage that of `agent_completed`
 * @returns {{short: string, models: string[]} | null} the totals, and a line per model; null if no model was used
 */
export function spent(usage) {
  const all = /** @type {Record<string, unknown>} */ (usage && typeof usage === "object" ? usage : {});
  const tokens = (amount(all.input_tokens) ?? 0) + (amount(all.output_tokens) ?? 0);
  if (tokens === 0) return null;
  const models = Array.isArray(all.models) ? all.models.filter((each) => typeof each?.model === "string") : [];
  return {
    short: `${number(tokens)} tokens · ${price(all.cost_usd)}`,
    models: models.map((each) => {
      const cached = amount(each.cached_tokens);
      const requests = amount(each.requests) ?? 0;
      const read = `${number(amount(each.input_tokens) ?? 0)} tokens in${cached ? ` (${number(cached)} cached)` : ""}`;
      const written = `${number(amount(each.output_tokens) ?? 0)} out`;
      const asked = `${number(requests)} request${requests === 1 ? "" : "s"}`;
      return `${each.model}: ${asked}, ${read}, ${written}, ${price(each.cost_usd)}`;
    }),
  };
}
