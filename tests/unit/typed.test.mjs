import assert from "node:assert/strict";
import test from "node:test";

import { fieldsOf, formOf, messageOf, understood, withoutChips } from "../../chat/pages/static/chat/state/typed.js";

const REQUEST = { goal: "cost", models: "gpt-4o", requests: 1000, cached: 50 };
const chip = (field, type) => ({
  field,
  text: `${field}: ${REQUEST[field]}`,
  schema: { type, title: field, default: REQUEST[field] },
});
const RESULT = {
  kind: "workload",
  request: REQUEST,
  chips: [chip("models", "string"), chip("requests", "number"), chip("cached", "number")],
};

test("the result of a run that understood nothing has no chips", () => {
  for (const result of [null, undefined, 5, "x", [], {}, { ...RESULT, kind: null }, { ...RESULT, request: null }]) {
    assert.equal(understood(result), null);
  }
  assert.equal(understood({ ...RESULT, chips: [{ field: "evil", text: "x", schema: {} }, null, 5] }), null);
  assert.deepEqual(understood(RESULT), RESULT);
});

test("the form of a request is filled with it and has no defaults, so that a field can be emptied", () => {
  const { schema, values } = formOf(RESULT);
  assert.deepEqual(values, { models: "gpt-4o", requests: 1000, cached: 50 });
  assert.deepEqual(schema.properties.cached, { type: "number", title: "cached" });
});

test("a changed chip is a typed request: the others stay, what was emptied goes", () => {
  const message = messageOf(RESULT, { models: "gpt-4o-mini", requests: 2000, cached: undefined });
  assert.deepEqual(JSON.parse(message), { workload: { goal: "cost", models: "gpt-4o-mini", requests: 2000 } });
  assert.deepEqual(fieldsOf(message), [
    ["goal", "cost"],
    ["models", "gpt-4o-mini"],
    ["requests", "2000"],
  ]);
});

test("another message is no typed request", () => {
  for (const content of [
    "",
    "hello",
    "{",
    '{"workload": 5}',
    '{"a": {}}',
    '{"workload": {}, "query": {}}',
    '{"workload"',
    " {}",
  ]) {
    assert.equal(fieldsOf(content), null);
  }
});

test("an answer with chips is shown without the paragraph that says the same", () => {
  const said = "Understood: gpt-4o · $& 50 % cached";
  const text = `This costs **$1**.\n\n${said}\n\n| a |\n| --- |\n`;
  assert.equal(withoutChips(text, { ...RESULT, understood: said }), "This costs **$1**.\n\n| a |\n| --- |\n");
  assert.equal(
    withoutChips(`This costs **$1**.\n\n${said}\n`, { ...RESULT, understood: said }),
    "This costs **$1**.\n",
  );
  for (const result of [null, RESULT, { ...RESULT, understood: "" }, { ...RESULT, understood: said, chips: [] }]) {
    assert.equal(withoutChips(text, result), text);
  }
});
