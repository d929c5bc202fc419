/** Fields of a form, made from a flat JSON schema: labels, inputs, and errors beside them. */

import { check, choices } from "../state/forms.js";
import { editable, fits, linesOf } from "../state/parameters.js";
import { number as localized, parts, t, told } from "../text/strings.js";
import { changes } from "./difference.js";
import { element, setAttribute, setText } from "./element.js";
import { brief, isRounded } from "./values.js";

/**
 * @typedef {import("../state/forms.js").Property} Property
 * @typedef {import("../state/parameters.js").Editable} Described
 *
 * @typedef {object} Control
 * @property {HTMLElement} node
 * @property {HTMLElement} focus what has the focus when the value is wrong
 * @property {() => unknown} read the value; undefined: absent
 * @property {boolean} [group] the node has a legend instead of a label
 * @property {string} [note]
 */

/** A text that may be longer gets a field of several lines. */
const MAX_LINE_CHARACTERS = 200;
/** How the reader's locale writes the point of a number: some keyboards of phones have no other. */
const POINT = localized(1.5).charAt(1);
/** With thousands in groups by the point of other locales: 1.000 is not 1. */
const GROUPED = /^[+-]?[0-9]{1,3}(\.[0-9]{3})+$/;
/** Also as people type it: .5, 5. and +5. */
const NUMBER = /^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?$/i;
/** The property of a form that asks for a single value. */
const SINGLE = "value";
/** The input for a format. */
const INPUTS = new Map([
  ["email", "email"],
  ["uri", "url"],
  ["date", "date"],
  ["date-time", "datetime-local"],
]);

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Input */
export const INPUT = "input, select, textarea";

let made = 0;

/** What a field has cannot be read; the message says what is wrong. */
class Unreadable extends Error {}

export class Fields {
  node = element("div", { class: "fields" });
  /** @type {Map<string, Described | null>} null: any JSON */
  #properties;
  #required;
  /** @type {Map<string, {control: Control, error: HTMLElement, changed: HTMLElement | null}>} */
  #fields = new Map();
  #proposed;

  /**
   * @param {Record<string, any> | null} schema of an object
   * @param {Record<string, unknown>} values to begin with
   * @param {boolean} compares show beside each field how it differs from them
   */
  constructor(schema, values, compares = false) {
    this.#proposed = values;
    this.#required = new Set(Array.isArray(schema?.required) ? schema.required : []);
    this.#properties = new Map(
      Object.entries(schema?.properties ?? {}).map(([name, property]) => {
        const field = editable(property);
        return [name, field && fits(field, values[name]) ? field : null];
      }),
    );
    for (const name of Object.keys(values)) if (!this.#properties.has(name)) this.#properties.set(name, null);
    for (const [name, property] of this.#properties) this.#add(name, property, values[name], compares);
    if (compares) this.node.addEventListener("input", () => this.#compare());
  }

  /** Show how the fields differ from the values that they began with. */
  #compare() {
    for (const [name, { control, changed }] of this.#fields) {
      if (!changed) continue;
      const before = this.#proposed[name];
      let value = before;
      try {
        value = this.#value(name, control);
      } catch (error) {
        if (!(error instanceof Unreadable)) throw error;
      }
      changed.hidden = JSON.stringify(value) === JSON.stringify(before);
      if (changed.hidden) continue;
      if (typeof before === "string" && typeof value === "string")
        changed.replaceChildren(...parts("field.changed", { text: changes(before, value) }));
      else {
        const proposed = before === undefined ? t("field.nothing") : brief(before);
        changed.replaceChildren(...parts("field.proposed", { value: element("bdi", {}, proposed) }));
      }
    }
  }

  /** @returns {Record<string, (string | boolean)[]>} what the inputs have, right or wrong */
  draft() {
    return Object.fromEntries([...this.#inputs()].map(([name, inputs]) => [name, inputs.map(contentOf)]));
  }

  /** @param {Record<string, (string | boolean)[]>} draft what the inputs are to have */
  restore(draft) {
    for (const [name, inputs] of this.#inputs()) {
      inputs.forEach((input, index) => {
        const content = draft[name]?.[index];
        if (typeof content === "boolean") /** @type {HTMLInputElement} */ (input).checked = content;
        else if (content !== undefined) input.value = content;
      });
    }
    this.#compare();
  }

  /** @returns {Map<string, Input[]>} */
  #inputs() {
    const found = new Map();
    for (const [name, { control }] of this.#fields) {
      const { node } = control;
      const inputs = node.matches(INPUT) ? [node] : [...node.querySelectorAll(INPUT)];
      found.set(name, /** @type {Input[]} */ (inputs));
    }
    return found;
  }

  /**
   * @param {string} name
   * @param {Described | null} property
   * @param {unknown} value
   * @param {boolean} compares
   */
  #add(name, property, value, compares) {
    made += 1;
    const id = `field-${made}`;
    const required = this.#required.has(name) && !property?.optional;
    const control = property ? controlOf(property, value, required, id, compares) : jsonControl(value);
    const about = [property?.description, control.note].filter(Boolean).join(" ");
    const description = element("p", { class: "about", id: `${id}-about`, dir: "auto" }, about);
    const error = element("p", { class: "wrong", id: `${id}-wrong`, hidden: true });
    control.focus.id ||= id;
    const described = control.group ? control.node : control.focus;
    setAttribute(described, "aria-describedby", `${about ? `${id}-about ` : ""}${id}-wrong`);
    // One value has no name but the one that the form gives it.
    const called =
      property?.title || (!compares && this.#properties.size === 1 && name === SINGLE ? t("field.yours") : name);
    const title = [element("bdi", {}, called), !required && element("span", { class: "dim" }, ` ${t("optional")}`)];
    if (required && !control.group) setAttribute(control.focus, "aria-required", "true");
    const label = control.group
      ? element("legend", {}, ...title)
      : element("label", { for: control.focus.id }, ...title);
    if (control.group) control.node.prepend(label);
    const isCheckbox = control.focus instanceof HTMLInputElement && control.focus.type === "checkbox" && !control.group;
    const field = element("div", { class: isCheckbox ? "field check" : "field", "data-field": name });
    if (isCheckbox) field.append(control.node, label);
    else field.append(...(control.group ? [control.node] : [label, control.node]));
    if (about) field.append(description);
    const changed = compares ? element("p", { class: "changed", dir: "auto", hidden: true }) : null;
    if (changed) field.append(changed);
    field.append(error);
    this.node.append(field);
    this.#fields.set(name, { control, error, changed });
  }

  /**
   * Read the values, and show what is wrong beside each field.
   * @returns {Record<string, unknown> | null} null: at least one value is wrong; its field has the focus
   */
  read() {
    /** @type {[string, unknown][]} */
    const values = [];
    /** @type {HTMLElement | null} */
    let first = null;
    for (const [name, { control, error }] of this.#fields) {
      const problem = this.#read(name, control, values);
      show(control, error, problem);
      if (problem) first ??= control.focus;
    }
    first?.focus();
    return first ? null : Object.fromEntries(values);
  }

  /**
   * @param {string} name
   * @param {Control} control
   * @returns {unknown} null where an optional value was proposed and is emptied
   */
  #value(name, control) {
    const value = control.read();
    const isEmptied = value === undefined && this.#proposed[name] !== undefined;
    return isEmptied && this.#properties.get(name)?.optional ? null : value;
  }

  /**
   * @param {string} name
   * @param {Control} control
   * @param {[string, unknown][]} values is added to
   * @returns {string} what is wrong; empty: nothing
   */
  #read(name, control, values) {
    const property = this.#properties.get(name);
    let value;
    try {
      value = this.#value(name, control);
    } catch (error) {
      if (error instanceof Unreadable) return error.message;
      throw error;
    }
    const given = value === undefined ? {} : Object.fromEntries([[name, value]]);
    const required = this.#required.has(name) ? [name] : [];
    if (property && value !== null && !property.lines) {
      const checked = check({ properties: Object.fromEntries([[name, property]]), required }, given);
      if ("message" in checked) return told(checked.message);
    } else if (value === undefined && required.length > 0) {
      return t("field.required");
    }
    if (value !== undefined) values.push([name, value]);
    return "";
  }

  /**
   * Show what the server found wrong.
   * @param {string} place the field's name, perhaps with a place below it
   * @param {string} message
   * @returns {boolean} there is such a field
   */
  refuse(place, message) {
    const isAt = (/** @type {string} */ name) =>
      place === name || place.startsWith(`${name}[`) || place.startsWith(`${name}.`);
    const name = [...this.#fields.keys()].filter(isAt).sort((a, b) => b.length - a.length)[0];
    const field = name === undefined ? undefined : this.#fields.get(name);
    if (!field) return false;
    show(field.control, field.error, message);
    field.control.focus.focus();
    return true;
  }

  /** @param {boolean} disabled */
  disable(disabled) {
    for (const input of this.node.querySelectorAll(INPUT)) input.toggleAttribute("disabled", disabled);
  }
}

/** @param {Input} input */
const contentOf = (input) =>
  input instanceof HTMLInputElement && input.type === "checkbox" ? input.checked : input.value;

/**
 * @param {Control} control
 * @param {HTMLElement} error
 * @param {string} message
 */
function show(control, error, message) {
  error.hidden = !message;
  setText(error, message && `${message[0].toUpperCase()}${message.slice(1)}.`);
  const inputs = control.group ? control.node.querySelectorAll("input") : [control.focus];
  for (const input of inputs) setAttribute(input, "aria-invalid", message ? "true" : null);
}

/**
 * @param {Described} property
 * @param {any} value to begin with
 * @param {boolean} required
 * @param {string} id
 * @param {boolean} compares a box that nobody has ticked is absent where nothing was proposed
 * @returns {Control}
 */
function controlOf(property, value, required, id, compares) {
  const start = value === undefined ? property.default : value;
  if (property.type === "boolean") {
    const input = element("input", { type: "checkbox" });
    input.checked = start === true;
    const isAbsent = compares && !required && start === undefined;
    return { node: input, focus: input, read: () => (isAbsent && !input.checked ? undefined : input.checked) };
  }
  if (property.lines) return lines(start, required);
  if (property.type === "array") return checkboxes(property, start, required, id);
  if (property.type === "string" && choices(property)) return select(property, start, required);
  return property.type === "string" ? text(property, start) : number(property, value);
}

/**
 * @param {import("../state/forms.js").Choices} schema
 * @returns {[string, string][]} value and title
 */
const titled = (schema) =>
  (schema.oneOf ?? schema.anyOf)?.map((choice) => [choice.const, choice.title]) ??
  (schema.enum ?? []).map((value) => [value, value]);

/**
 * @param {Described} property
 * @param {unknown[] | undefined} start
 * @param {boolean} required
 * @param {string} id
 * @returns {Control}
 */
function checkboxes(property, start, required, id) {
  const boxes = titled(property.items ?? {}).map(([value, title], index) => {
    const input = element("input", { type: "checkbox", id: `${id}-${index}` });
    input.checked = start?.includes(value) ?? false;
    return { value, input, label: element("label", { for: input.id }, element("bdi", {}, title)) };
  });
  const rows = boxes.map(({ input, label }) => element("div", { class: "check" }, input, label));
  const read = () => {
    const chosen = boxes.filter(({ input }) => input.checked).map(({ value }) => value);
    return chosen.length > 0 || required || start !== undefined ? chosen : undefined;
  };
  return { node: element("fieldset", {}, ...rows), focus: boxes[0].input, read, group: true };
}

/**
 * @param {Described} property
 * @param {unknown} start
 * @param {boolean} required
 * @returns {Control}
 */
function select(property, start, required) {
  const options = titled(property);
  const node = element("select");
  const at = options.findIndex(([value]) => value === start);
  if (at < 0 || (!required && property.default === undefined)) {
    node.append(element("option", { value: "-1" }, required ? t("field.choose") : t("field.no_choice")));
  }
  options.forEach(([, title], index) => node.append(element("option", { value: String(index), dir: "auto" }, title)));
  node.value = String(at);
  return { node, focus: node, read: () => options[Number(node.value)]?.[0] };
}

/**
 * @param {Described} property
 * @param {unknown} start
 * @returns {Control}
 */
function text(property, start) {
  const begin = typeof start === "string" ? start : "";
  const type = INPUTS.get(property.format ?? "") ?? "text";
  const isLong = type === "text" && ((property.maxLength ?? Infinity) > MAX_LINE_CHARACTERS || begin.includes("\n"));
  const node = isLong ? element("textarea", { rows: "2" }) : element("input", { type, autocomplete: "off" });
  if (type === "text") node.dir = "auto";
  const isTime = type === "datetime-local";
  if (isTime) node.setAttribute("step", "1");
  node.value = isTime && begin ? local(begin) : begin;
  const first = node.value;
  const read = () => {
    // A date that is only begun has no value, and is not meant to be absent.
    if (node.validity.badInput) throw new Unreadable(t("field.incomplete"));
    // An input changes ends of lines and the form of a time: what nobody has touched stays as it is.
    if (node.value === first && typeof start === "string") return start;
    if (isTime) return instant(node.value);
    // Where there is a default, an absent value would mean that, and not an empty text.
    return node.value || property.default !== undefined ? node.value : undefined;
  };
  if (!isTime) return { node, focus: node, read };
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return { node, focus: node, read, note: t("field.zone", { zone }) };
}

/**
 * @param {string} timestamp
 * @returns {string} as an input of date and time has it, in the zone of this machine
 */
function local(timestamp) {
  const date = new Date(timestamp);
  if (Number.isNaN(date.valueOf())) return "";
  return new Date(date.valueOf() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

/** @param {string} value of an input of date and time */
function instant(value) {
  const date = new Date(value);
  return Number.isNaN(date.valueOf()) ? undefined : date.toISOString();
}

/**
 * @param {Property} property
 * @param {unknown} value to begin with
 * @returns {Control}
 */
function number(property, value) {
  const node = element("input", { type: "text", inputmode: "decimal", autocomplete: "off" });
  // The server has all digits of the default, which it takes where there is no value.
  const isHidden = value === undefined && isRounded(property.default);
  const start = value === undefined && !isHidden ? property.default : value;
  node.value = typeof start === "number" ? String(start).replace(".", POINT) : "";
  return {
    node,
    focus: node,
    ...(isHidden && { note: t("field.hidden_default") }),
    read() {
      const typed = node.value.trim();
      if (POINT !== "." && GROUPED.test(typed)) throw new Unreadable(t("field.grouped"));
      const given = typed.replace(POINT, ".");
      if (!NUMBER.test(given)) return typed || undefined;
      const read = Number(given);
      if (!Number.isFinite(read)) throw new Unreadable(t("field.large"));
      if (Number.isInteger(read) && !Number.isSafeInteger(read) && /^[+-]?[0-9]+\.?$/.test(given)) {
        throw new Unreadable(t("field.digits"));
      }
      return read;
    },
  };
}

/**
 * @param {unknown} start
 * @param {boolean} required
 * @returns {Control} of a list of texts
 */
function lines(start, required) {
  const node = element("textarea", { rows: "3", dir: "auto" });
  node.value = Array.isArray(start) ? start.join("\n") : "";
  const read = () => {
    const entries = linesOf(node.value);
    return entries.length > 0 || required || start !== undefined ? entries : undefined;
  };
  return { node, focus: node, read, note: t("field.lines") };
}

/**
 * @param {unknown} start
 * @returns {Control}
 */
function jsonControl(start) {
  const node = element("textarea", { rows: "3", class: "json", dir: "ltr", spellcheck: "false" });
  node.value = start === undefined ? "" : JSON.stringify(start, null, 2);
  return {
    node,
    focus: node,
    note: t("field.json"),
    read() {
      if (node.value.trim() === "") return undefined;
      try {
        return JSON.parse(node.value);
      } catch {
        throw new Unreadable(t("field.json.wrong"));
      }
    },
  };
}
