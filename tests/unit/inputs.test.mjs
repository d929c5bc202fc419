// The list of input requests, the difference of an edited text, and how untrusted text is shown.

import assert from "node:assert/strict";
import { test } from "node:test";
import { difference, excerpt } from "../../chat/pages/static/chat/state/difference.js";
import { inputOf, isMine, waitingInputs } from "../../chat/pages/static/chat/state/inputs.js";
import { EMPTY } from "../../chat/pages/static/chat/state/model.js";
import { reduce } from "../../chat/pages/static/chat/state/reducer.js";
import { exact } from "../../chat/pages/static/chat/ui/values.js";

const row = (id, fields) => ({
  id,
  object: "input_request",
  kind: "approval",
  status: "open",
  run_id: "r",
  thread_id: "t",
  agent: "advisor",
  agent_name: "advisor",
  message: `About ${id}?`,
  schema: null,
  default: null,
  tool_name: "send",
  tool_call_id: "c",
  parameters: { to: "bob" },
  editable: true,
  decided_by: "owner",
  four_eyes: false,
  may_remember: true,
  reason: null,
  created_at: "2026-11-30T10:00:00Z",
  expires_at: "2026-12-01T10:00:00Z",
  resolved_at: null,
  content: null,
  edited_parameters: null,
  edited: false,
  comment: null,
  resolved_by: null,
  via: null,
  ...fields,
});
const listed = (...inputs) => reduce(EMPTY, { type: "inputs_listed", inputs });
const own = (id, fields) => inputOf(row(id, fields), true);
const ids = (state) => waitingInputs(state).map(({ id }) => id);
const resolved = {
  type: "input_resolved",
  seq: 7,
  thread_id: "t",
  run_id: "r",
  agent_name: "advisor",
  timestamp: "2026-11-30T11:00:00Z",
  request_id: "a",
  status: "accepted",
  parameters: { to: "carol" },
  edited: true,
  resolved_by: { user_id: "u", name: "Ann" },
  via: "socket",
};

test("requests wait in the order in which they expire, without those that another person must decide", () => {
  const state = listed(
    own("late", { expires_at: "2026-12-03T10:00:00Z" }),
    own("soon"),
    own("seen by two", { four_eyes: true }),
    own("of a group", { decided_by: "group:refunds" }),
    inputOf(row("of another", { four_eyes: true, expires_at: "2026-12-02T10:00:00Z" }), false),
  );
  assert.deepEqual(ids(state), ["soon", "of another", "late"]);
  assert.deepEqual(
    [...state.inputs.values()].filter((input) => !isMine(input)).map(({ id }) => id),
    ["seen by two", "of a group"],
  );
});

test("a request that the log resolves has its decision, and a list read before that does not open it again", () => {
  const state = reduce(listed(own("a"), own("b")), resolved);
  assert.deepEqual(ids(state), ["b"]);
  const { status, by, values, edited } = state.inputs.get("a").resolution;
  assert.deepEqual([status, by, values, edited], ["accepted", "Ann", { to: "carol" }, true]);
  const again = reduce(state, { type: "inputs_listed", inputs: [own("a"), own("b")] });
  assert.deepEqual(ids(again), ["b"]);
  assert.deepEqual([...reduce(again, { type: "inputs_shown" }).inputs.keys()], ["b"]);
});

test("a request of another person is over once the list says so, and so is the answer that was given here", () => {
  const other = inputOf(row("a"), false);
  const answer = { request_id: "a", action: "accept" };
  const sent = reduce(listed(other), { type: "answer_given", answer });
  assert.equal(sent.answers.size, 1);
  const over = row("a", {
    status: "declined",
    comment: "no",
    resolved_by: { name: "Eve" },
    resolved_at: "2026-11-30T11:00:00Z",
    via: "rest",
  });
  const state = reduce(sent, { type: "inputs_listed", inputs: [inputOf(over, false)] });
  assert.equal(state.answers.size, 0);
  assert.deepEqual(ids(state), []);
  const { status, reason, by, via } = state.inputs.get("a").resolution;
  assert.deepEqual([status, reason, by, via], ["declined", "no", "Eve", "rest"]);
});

test("requests that are not listed any more are gone, and so are those of a deleted thread", () => {
  assert.deepEqual(ids(reduce(listed(own("a"), own("b")), { type: "inputs_listed", inputs: [own("b")] })), ["b"]);
  const state = listed(own("a"), own("b", { thread_id: "other" }));
  assert.deepEqual(ids(reduce(state, { type: "thread_deleted", thread_id: "t" })), ["b"]);
});

test("without its additions a difference is the old text, without its removals the new one", () => {
  const texts = [
    "",
    "one",
    "one two three",
    "one 2 three",
    "Dear Bob,\n\nthis is it.\n",
    "Dear Carol,\n\nthis was it, almost.",
    "наше слово",
    `${"word ".repeat(3000)}end`,
    `${"drow ".repeat(3000)}end`,
    `a\n${"line\n".repeat(900)}`,
  ];
  for (const before of texts) {
    for (const after of texts) {
      const spans = difference(before, after);
      const joined = (without) =>
        spans
          .filter(({ kind }) => kind !== without)
          .map(({ text }) => text)
          .join("");
      assert.deepEqual([joined("added"), joined("removed")], [before, after]);
    }
  }
});

test("a difference names the words that changed, and equal text far from them is shortened", () => {
  assert.deepEqual(difference("send it to Bob today", "send it to Carol today"), [
    { kind: "same", text: "send it to " },
    { kind: "removed", text: "Bob" },
    { kind: "added", text: "Carol" },
    { kind: "same", text: " today" },
  ]);
  const [start, , , end] = excerpt(
    difference(`${"a ".repeat(200)}Bob${" b".repeat(200)}`, `${"a ".repeat(200)}Eve${" b".repeat(200)}`),
  );
  assert.match(start.text, /^…[a ]{60}$/);
  assert.match(end.text, /^[b ]{60}…$/);
});

test("letters that look like others are shown by their code, words of another script as they are", () => {
  assert.equal(exact("b\u043eb@ex\u0430mple.org"), "b[U+043E]b@ex[U+0430]mple.org");
  assert.equal(exact("Привет, κόσμε, 日本語, Zoë, 5 m²"), "Привет, κόσμε, 日本語, Zoë, 5 m²");
  assert.equal(exact("ｐay 𝐩ay"), "[U+FF50]ay [U+1D429]ay");
  assert.equal(exact("a\u202eb\u200b"), "a[U+202E]b[U+200B]");
});
