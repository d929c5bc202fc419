/** Parameters of a tool as fields can hold them, by their JSON schema. Pure. */

import { choices } from "./forms.js";

/**
 * @typedef {import("./forms.js").Property & {title?: string, description?: string, optional?: boolean,
 *   lines?: boolean}} Editable `optional`: it may be null; `lines`: a list of texts without choices
 */

const TYPES = new Set(["string", "number", "integer", "boolean", "array"]);

/**
 * @param {any} property of an object's schema
 * @returns {Editable | null} what a field is made of; null: only JSON text can hold it
 */
export function editable(property) {
  const inner = withoutNull(property);
  if (!TYPES.has(inner?.type)) return null;
  if (inner !== property) {
    // A box and a list cannot show null. An emptied field is null, and not the default.
    if (inner.type === "boolean" || inner.type === "array") return null;
    const { default: _, ...rest } = inner;
    return { ...rest, optional: true };
  }
  if (inner.type !== "array" || choices(inner.items ?? {}) !== null) return inner;
  return inner.items?.type === "string" ? { ...inner, lines: true } : null;
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
