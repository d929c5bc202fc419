// Typed requests: what the advisor understood, as the result of its run has it, and a message that is one. Pure.

/**
 * @typedef {object} Chip a field of the request
 * @property {string} field
 * @property {string} text
 * @property {import("./forms.js").Property & {title?: string}} schema
 *
 * @typedef {object} Understood
 * @property {string} kind `workload` or `query`
 * @property {Record<string, unknown>} request
 * @property {Chip[]} chips
 */

/** @param {unknown} value */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * @param {any} result of a run
 * @returns {Understood | null} null: the run understood no request
 */
export function understood(result) {
  if (typeof result?.kind !== "string" || !isObject(result.request) || !Array.isArray(result.chips)) return null;
  const chips = result.chips.filter(
    (/** @type {any} */ one) =>
      typeof one?.field === "string" &&
      typeof one.text === "string" &&
      isObject(one.schema) &&
      one.field in result.request,
  );
  return chips.length > 0 ? { kind: result.kind, request: result.request, chips } : null;
}

/**
 * The text of an answer without the paragraph that says what its chips say.
 * @param {string} text
 * @param {any} result of its run
 */
export function withoutChips(text, result) {
  const said = result?.understood;
  if (typeof said !== "string" || said === "" || !understood(result)) return text;
  return text.replace(`\n\n${said}\n`, () => "\n");
}

/**
 * The form that changes the request: one field a chip. Its values are no defaults, so that a field can be emptied.
 * @param {Understood} understood
 */
export function formOf({ request, chips }) {
  const properties = chips.map(({ field, schema: { default: _, ...schema } }) => [field, schema]);
  const values = chips.map(({ field }) => [field, request[field]]);
  return { schema: { properties: Object.fromEntries(properties) }, values: Object.fromEntries(values) };
}

/**
 * The message that asks for the request with other values. What has no chip stays; what was emptied goes.
 * @param {Understood} understood
 * @param {Record<string, unknown>} values of the form
 */
export function messageOf({ kind, request, chips }, values) {
  const shown = new Set(chips.map(({ field }) => field));
  const kept = Object.entries(request).filter(([name]) => !shown.has(name));
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== "");
  return JSON.stringify({ [kind]: Object.fromEntries([...kept, ...given]) });
}

/**
 * @param {string} content of a message
 * @returns {[string, string][] | null} the fields of a typed request, in words; null: it is another message
 */
export function fieldsOf(content) {
  if (!content.startsWith('{"')) return null;
  try {
    const entries = Object.entries(JSON.parse(content));
    const [kind, request] = entries[0] ?? [];
    if (entries.length !== 1 || (kind !== "workload" && kind !== "query") || !isObject(request)) return null;
    return Object.entries(/** @type {object} */ (request)).map(([name, value]) => [
      name.replaceAll("_", " "),
      String(value),
    ]);
  } catch {
    return null;
  }
}
