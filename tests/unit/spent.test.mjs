/** What a run's models have used up, as the card shows it. */

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
    short: "1,355 tokens · $0.0123",
    models: [
      "openai:gpt-5-mini: 2 requests, 1,200 tokens in (300 cached), 140 out, $0.0023",
      "anthropic:x: 1 request, 10 tokens in, 5 out, $2.00",
    ],
  });
});

test("a price that nobody knows is shown as unknown, and a free model as free", () => {
  assert.equal(spent({ input_tokens: 1, output_tokens: 1, cost_usd: null })?.short, "2 tokens · cost unknown");
  assert.equal(spent({ input_tokens: 1, output_tokens: 1, cost_usd: 0 })?.short, "2 tokens · $0.00");
});

test("usage without tokens, or of another kind, is not shown", () => {
  for (const usage of [undefined, null, {}, "x", 3, [], { tokens: 5 }, { input_tokens: "9", output_tokens: -1 }]) {
    assert.equal(spent(usage), null);
  }
  assert.deepEqual(spent({ input_tokens: 1, models: [null, 3, { model: 5 }, "x"] })?.models, []);
});
