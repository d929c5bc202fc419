// The page checks an answer by the same rules as the server: chat/protocol/forms.py passes the same cases.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { check } from "../../chat/pages/static/chat/state/forms.js";

const cases = JSON.parse(readFileSync(new URL("../forms.json", import.meta.url), "utf8")).answers;

for (const one of cases.filter((one) => one.only !== "python")) {
  test(`answer ${JSON.stringify(one)}`, () => {
    const { property } = one;
    const schema = one.schema ?? { properties: { value: property }, required: ["value"] };
    const found = check(schema, one.content);
    if ("values" in one) {
      assert.deepEqual(Object.entries(found.values), Object.entries(one.values));
    } else {
      assert.deepEqual(found, { field: one.field, message: one.message });
    }
  });
}

test("a format that is no form's is not checked, whatever its name", () => {
  for (const format of ["constructor", "__proto__", "ipv4", 5]) {
    const schema = { properties: { value: { type: "string", format } } };
    assert.deepEqual(check(schema, { value: "x" }), { values: { value: "x" } });
  }
});
