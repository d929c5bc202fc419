// The check of an answer to a form, by the rules of chat/protocol/forms.py: both pass tests/forms.json.

/**
 * @typedef {object} Property
 * @property {"string" | "number" | "integer" | "boolean" | "array"} type
 * @property {unknown} [default]
 * @property {number} [minLength]
 * @property {number} [maxLength]
 * @property {string} [format]
 * @property {string[]} [enum]
 * @property {{ const: string, title: string }[]} [oneOf]
 * @property {{ const: string, title: string }[]} [anyOf]
 * @property {number} [minimum]
 * @property {number} [maximum]
 * @property {Choices} [items]
 * @property {number} [minItems]
 * @property {number} [maxItems]
 *
 * @typedef {Pick<Property, "enum" | "oneOf" | "anyOf">} Choices
 * @typedef {{ properties: Record<string, Property>, required?: string[] }} Schema
 * @typedef {{ field: string, message: string }} Problem
 */

const DATE = /^([0-9]{4})-([0-9]{2})-([0-9]{2})$/;
const DATE_TIME =
  /^([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$/;

/** @param {string} text */
function isDate(text) {
  const found = DATE.exec(text);
  if (!found || found[1] === "0000") return false;
  const date = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(date.valueOf()) && date.toISOString().startsWith(text);
}

/** @type {Record<string, [(text: string) => boolean, string]>} */
const FORMATS = {
  email: [
    (text) => /^[^\s\x1c-\x1f\x85@]+@[^\s\x1c-\x1f\x85@.]+(\.[^\s\x1c-\x1f\x85@.]+)+$/.test(text),
    "must be an e-mail address",
  ],
  uri: [
    (text) => /^https?:\/\/[^\s\x1c-\x1f\x85/?#][^\s\x1c-\x1f\x85]*$/i.test(text),
    "must be an http or https address",
  ],
  date: [isDate, "must be a date, as 2026-11-30"],
  "date-time": [
    (text) => isDate(DATE_TIME.exec(text)?.[1] ?? ""),
    "must be a date and time with its zone, as 2026-11-30T09:00:00Z",
  ],
};

/** @type {Record<Property["type"], [(value: unknown) => boolean, string]>} */
const TYPES = {
  string: [(value) => typeof value === "string", "must be a text"],
  number: [(value) => typeof value === "number", "must be a number"],
  integer: [Number.isInteger, "must be a whole number"],
  boolean: [(value) => typeof value === "boolean", "must be true or false"],
  array: [Array.isArray, "must be a list"],
};

/**
 * Return the values that a string may have; null if any.
 * @param {Choices} schema
 */
export function choices(schema) {
  const titled = schema.oneOf ?? schema.anyOf;
  return schema.enum ?? titled?.map((choice) => choice.const) ?? null;
}

/**
 * Return [place below the property, what its value must be] of a wrong value; null for a right one.
 * @param {Property} schema
 * @param {any} value
 * @returns {[string, string] | null}
 */
function problem(schema, value) {
  const [fits, message] = TYPES[schema.type];
  if (!fits(value)) return ["", message];
  switch (schema.type) {
    case "string":
      return stringProblem(schema, value);
    case "array": {
      if (value.length < (schema.minItems ?? 0)) return ["", `must have at least ${schema.minItems} entries`];
      if (value.length > (schema.maxItems ?? Infinity)) return ["", `must have at most ${schema.maxItems} entries`];
      const allowed = choices(schema.items ?? {}) ?? [];
      const wrong = value.findIndex((/** @type {any} */ item) => !allowed.includes(item));
      return wrong < 0 ? null : [`[${wrong}]`, "must be one of the choices"];
    }
    case "boolean":
      return null;
    default:
      if (value < (schema.minimum ?? -Infinity)) return ["", `must be at least ${schema.minimum}`];
      return value > (schema.maximum ?? Infinity) ? ["", `must be at most ${schema.maximum}`] : null;
  }
}

/**
 * @param {Property} schema
 * @param {string} value
 * @returns {[string, string] | null}
 */
function stringProblem(schema, value) {
  const length = [...value].length; // in characters, as the server counts
  if (length < (schema.minLength ?? 0)) return ["", `must have at least ${schema.minLength} characters`];
  if (length > (schema.maxLength ?? Infinity)) return ["", `must have at most ${schema.maxLength} characters`];
  if (!(choices(schema)?.includes(value) ?? true)) return ["", "must be one of the choices"];
  // A foreign tool's schema may have any format.
  const format = Object.hasOwn(FORMATS, schema.format ?? "") ? FORMATS[schema.format ?? ""] : undefined;
  return format && !format[0](value) ? ["", format[1]] : null;
}

/**
 * Return the values of an answer, in the order of the properties and with their defaults, or its first problem.
 * @param {Schema} schema
 * @param {unknown} content
 * @returns {{ values: Record<string, unknown> } | Problem}
 */
export function check(schema, content) {
  const names = Object.keys(schema.properties);
  let given = content;
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    if (given === null || given === undefined || names.length !== 1) {
      return { field: "content", message: "must be an object" };
    }
    given = Object.fromEntries([[names[0], given]]);
  }
  const answer = /** @type {Record<string, unknown>} */ (given);
  const unknown = Object.keys(answer).find((name) => !names.includes(name));
  if (unknown !== undefined) return { field: `content.${unknown}`, message: "is not asked for" };
  /** @type {[string, unknown][]} */
  const values = [];
  for (const [name, property] of Object.entries(schema.properties)) {
    if (Object.hasOwn(answer, name)) {
      const wrong = problem(property, answer[name]);
      if (wrong) return { field: `content.${name}${wrong[0]}`, message: wrong[1] };
      values.push([name, answer[name]]);
    } else if (Object.hasOwn(property, "default")) {
      values.push([name, property.default]);
    } else if (schema.required?.includes(name)) {
      return { field: `content.${name}`, message: "is required" };
    }
  }
  return { values: Object.fromEntries(values) };
}
