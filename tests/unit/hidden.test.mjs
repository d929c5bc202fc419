import assert from "node:assert/strict";
import test from "node:test";

import { HiddenThreads } from "../../chat/pages/static/chat/state/hidden.js";

const created = { type: "message_created", thread_id: "t", hidden: true };
const delta = { type: "agent_delta", thread_id: "t" };

test("a hidden thread is not shown until a second message joins it", () => {
  const threads = new HiddenThreads();
  assert.equal(threads.has(created, false), true);
  assert.equal(threads.has(delta, false), true);
  assert.equal(threads.has({ ...delta, thread_id: "other" }, false), false);
  assert.equal(threads.has({ ...created, hidden: undefined }, false), false);
  assert.equal(threads.has(delta, false), false);
});

test("a hidden thread that the page shows stays shown", () => {
  const threads = new HiddenThreads();
  assert.equal(threads.has(created, true), false);
  assert.equal(threads.has(delta, true), false);
  assert.equal(threads.has({ type: "pong" }, false), false);
});
