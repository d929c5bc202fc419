// A field holds a parameter of a tool only where it can show each of its values and send it unchanged.

import assert from "node:assert/strict";
import { test } from "node:test";
import { editable, fits, linesOf } from "../../chat/pages/static/chat/state/parameters.js";

const TEXT = { type: "string" };

test("a property of a form is its own field", () => {
  for (const property of [TEXT, { type: "array", items: { enum: ["a"] } }, { type: "boolean", default: true }]) {
    assert.equal(editable(property), property);
  }
});

test("a type that may be null, as Python's hints, pydantic and JSON Schema write it, is the field of the type", () => {
  const about = { title: "Memo", description: "What for?" };
  const field = { ...TEXT, ...about, optional: true };
  assert.deepEqual(editable({ anyOf: [TEXT, { type: "null" }], default: "none", ...about }), field);
  assert.deepEqual(editable({ anyOf: [{ type: "null" }, TEXT], ...about }), field);
  assert.deepEqual(editable({ type: ["string", "null"], default: null, ...about }), field);
  assert.equal(fits(field, null), true);
  assert.equal(fits(TEXT, null), false);
});

test("a list of texts has one a line, unless a text has several or none", () => {
  const field = editable({ type: "array", items: TEXT });
  assert.equal(field?.lines, true);
  assert.equal(fits(field, ["a", " b, c "]), true);
  for (const value of [["a\nb"], ["a\r"], [""], [" "], [1], "a", null]) assert.equal(fits(field, value), false);
  assert.deepEqual(linesOf("a\n\n b, c \n"), ["a", " b, c "]);
});

test("what no field shows is JSON", () => {
  for (const property of [
    undefined,
    null,
    true,
    {},
    { type: "object" },
    { type: "array" },
    { type: "array", items: { type: "integer" } },
    { type: ["string", "integer"] },
    { anyOf: [{ type: "boolean" }, { type: "null" }] },
    { anyOf: [{ type: "array", items: TEXT }, { type: "null" }] },
    { anyOf: [TEXT, { type: "integer" }] },
    { anyOf: [{ type: "null" }, { type: "null" }] },
    { anyOf: [null, { type: "null" }] },
  ]) {
    assert.equal(editable(property), null, JSON.stringify(property));
  }
});

test("choices that no form has are JSON: they are a foreign tool's", () => {
  for (const choices of [
    { enum: [] },
    { enum: "abc" },
    { enum: ["a", 5] },
    { enum: ["a"], oneOf: [{ const: "a", title: "A" }] },
    { oneOf: { const: "a", title: "A" } },
    { oneOf: [null] },
    { oneOf: [{ const: "a" }] },
    { anyOf: [{ format: "date" }, { format: "email" }] },
  ]) {
    assert.equal(editable({ type: "string", ...choices }), null, JSON.stringify(choices));
    assert.equal(editable({ type: "array", items: choices }), null, JSON.stringify(choices));
  }
});

test("a field drops a default that it cannot hold, and titles that are no texts", () => {
  const list = { type: "array", items: { enum: ["a"] } };
  for (const wrong of [{ a: 1 }, "a", ["b"], null]) assert.deepEqual(editable({ ...list, default: wrong }), list);
  assert.deepEqual(editable({ ...TEXT, default: { a: 1 }, title: { a: 1 }, description: ["b"] }), TEXT);
  assert.deepEqual(editable({ type: "integer", default: "5", title: "Count" }), { type: "integer", title: "Count" });
});
