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
