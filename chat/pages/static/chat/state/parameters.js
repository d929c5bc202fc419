/** Parameters of a tool as fields can hold them, by their JSON schema. Pure. */

import { choices } from "./forms.js";

/**
 * @typedef {import("./forms.js").Property & {title?: string, description?: string, optional?: boolean,
 *   lines?: boolean}} Editable `optional`: it may be null; `lines`: a list of texts without choices
 */

const TYPES = new Set(["string", "number", "integer", "boolean", "array"]);
const CHOICES = ["enum", "oneOf", "anyOf"];

/**
 * @param {any} property of an object's schema, which is a foreign tool's and may be anything
 * @returns {Editable | null} what a field is made of; null: only JSON text can hold it
 */
export function editable(property) {
  const inner = withoutNull(property);
  if (!TYPES.has(inner?.type)) return null;
  const isList = inner.type === "array";
  const texts = isList ? (inner.items ?? {}) : inner;
  if ((isList || inner.type === "string") && !isChoosable(texts)) return null;
  if (inner !== property) {
    // A box and a list cannot show null. An emptied field is null, and not the default.
    if (inner.type === "boolean" || isList) return null;
    const { default: _, ...rest } = inner;
    return sound({ ...rest, optional: true });
  }
  if (!isList || choices(texts) !== null) return sound(inner);
  return texts.type === "string" ? sound({ ...inner, lines: true }) : null;
}

/**
 * @param {any} schema of a text
 * @returns {boolean} it has no choices, or such as a form has: texts, or texts with titles
 */
function isChoosable(schema) {
  const [name, ...others] = CHOICES.filter((one) => schema[one] !== undefined);
  if (name === undefined) return true;
  const found = schema[name];
  if (others.length > 0 || !Array.isArray(found) || found.length === 0) return false;
  const isText = (/** @type {unknown} */ one) => typeof one === "string";
  return found.every(name === "enum" ? isText : (one) => isText(one?.const) && isText(one.title));
}

/**
 * @param {Editable} field
 * @returns {Editable} without texts that are none, and without a default that the field cannot hold
 */
function sound(field) {
  const isSound = (/** @type {[string, unknown]} */ [name, value]) => {
    if (name === "title" || name === "description") return typeof value === "string";
    return name !== "default" || fits(field, value);
  };
  const entries = Object.entries(field);
  const kept = entries.filter(isSound);
  return kept.length === entries.length ? field : /** @type {Editable} */ (Object.fromEntries(kept));
}

/**
 * @param {any} property
 * @returns {any} the schema of its values that are not null; the same where it has none
 */
function withoutNull(property) {
  const { type, anyOf, ...about } = property ?? {};
  if (Array.isArray(type) && type.length === 2 && type.includes("null")) {
    return { ...about, type: type.find((one) => one !== "null") };
  }
  if (!Array.isArray(anyOf) || anyOf.length !== 2 || type !== undefined) return property;
  const others = anyOf.filter((/** @type {any} */ one) => one?.type !== "null");
  return others.length === 1 ? { ...others[0], ...about } : property;
}

/**
 * @param {Editable} property
 * @param {unknown} value that an agent has proposed; undefined: none
 * @returns {boolean} the field of the property can hold it
 */
export function fits(property, value) {
  if (value === undefined) return true;
  if (value === null) return property.optional === true;
  if (property.lines) return Array.isArray(value) && value.every(isLine);
  const allowed = choices(property.type === "array" ? (property.items ?? {}) : property);
  if (property.type === "array") return Array.isArray(value) && value.every((item) => allowed?.includes(item));
  if (property.type === "string") return typeof value === "string" && (allowed?.includes(value) ?? true);
  return typeof value === (property.type === "boolean" ? "boolean" : "number");
}

/** @param {unknown} item */
const isLine = (item) => typeof item === "string" && item.trim() !== "" && !/[\r\n]/.test(item);

/**
 * @param {string} text
 * @returns {string[]} its lines that are not blank
 */
export const linesOf = (text) => text.split("\n").filter((line) => line.trim() !== "");
