/** What a run's models have used up. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { spent } from "../../chat/pages/static/chat/state/spent.js";

test("usage of two models is shown in all and for each", () => {
  const fast = { model: "openai:gpt-5-mini", requests: 2, input_tokens: 1200, cached_tokens: 300, output_tokens: 140 };
  const deep = { model: "anthropic:x", requests: 1, input_tokens: 10, cached_tokens: 0, output_tokens: 5 };
  const usage = {
    input_tokens: 1210,
    output_tokens: 145,
    cost_usd: 0.0123,
    models: [
      { ...fast, cost_usd: 0.0023 },
      { ...deep, cost_usd: 2 },
    ],
  };
  assert.deepEqual(spent(usage), {
    tokens: 1355,
    cost: 0.0123,
    models: [
      { model: "openai:gpt-5-mini", requests: 2, input: 1200, cached: 300, output: 140, cost: 0.0023 },
      { model: "anthropic:x", requests: 1, input: 10, cached: 0, output: 5, cost: 2 },
    ],
  });
});

test("a price that nobody knows is none, and a free model's is zero", () => {
  assert.equal(spent({ input_tokens: 1, output_tokens: 1, cost_usd: null })?.cost, null);
  assert.equal(spent({ input_tokens: 1, output_tokens: 1, cost_usd: 0 })?.cost, 0);
});

test("usage without tokens, or of another kind, is not shown", () => {
  for (const usage of [undefined, null, {}, "x", 3, [], { tokens: 5 }, { input_tokens: "9", output_tokens: -1 }]) {
    assert.equal(spent(usage), null);
  }
  assert.deepEqual(spent({ input_tokens: 1, models: [null, 3, { model: 5 }, "x"] })?.models, []);
});
