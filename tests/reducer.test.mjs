// What the page shows is a function of the log alone: however the log arrives, the state is the same.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY, reduce } from "../chat/static/chat/reducer.js";

const THREAD = "0b7f3f2e-6a55-4c1e-9d1c-3f6f7f9e0001";
const OTHER = "0b7f3f2e-6a55-4c1e-9d1c-3f6f7f9e0002";
const AT = "2026-11-22T12:00:00.000Z";

/** A log from shorthand: `[type, run, agent, fields]` a line, numbered from 1. */
function log(lines, thread_id = THREAD) {
  return lines.map(([type, run_id, agent_name, fields], index) => ({
    type,
    seq: index + 1,
    thread_id,
    run_id,
    attempt: 1,
    agent_name,
    timestamp: AT,
    ...fields,
  }));
}

const asked = (run, content, fields) => [
  "message_created",
  run,
  "advisor",
  {
    message_id: `question-${run}`,
    role: "user",
    content,
    parent_id: null,
    client_msg_id: `sent-${run}`,
    attachments: [],
    ...fields,
  },
];
const started = (run, agent = "advisor", parent_agent = null) => [
  "agent_started",
  run,
  agent,
  { task: `what ${agent} does`, status: "started", parent_agent },
];
const executing = (run, agent, id) => [
  "tool_executing",
  run,
  agent,
  { tool_call_id: id, tool_name: `tool_${id}`, parameters: { n: 1 } },
];
const completed = (run, agent, id, fields) => [
  "tool_completed",
  run,
  agent,
  { tool_call_id: id, tool_name: `tool_${id}`, result: { n: 2 }, success: true, duration_ms: 12, ...fields },
];
const delta = (run, text) => ["agent_delta", run, "advisor", { delta: text }];
const done = (run, text) => [
  "agent_completed",
  run,
  "advisor",
  {
    status: "completed",
    final_response: text,
    message_id: `answer-${run}`,
    agents_involved: [],
    usage: {},
    duration_ms: 900,
  },
];

/** Three runs of one thread: one restarted and completed, one queued behind it and cancelled, one failed. */
const LOG = log([
  asked("a", "How much?"),
  started("a"),
  ["agent_thinking", "a", "advisor", { reasoning: "first try" }],
  executing("a", "advisor", "lost"),
  delta("a", "Half an ans"),
  asked("b", "And then?"),
  ["run_restarted", "a", "advisor", { attempt: 2, reason: "its worker was lost" }],
  started("a"),
  started("a", "data", "advisor"),
  ["agent_thinking", "a", "data", { reasoning: "looking" }],
  executing("a", "data", "one"),
  completed("a", "data", "one"),
  started("a", "prices", "data"),
  executing("a", "prices", "two"),
  completed("a", "prices", "two", { success: false, result: null, error: "no such model" }),
  ["subagent_completed", "a", "prices", { summary: "priced", duration_ms: 20 }],
  ["subagent_completed", "a", "data", { summary: "counted", duration_ms: 40 }],
  started("a", "data", "advisor"),
  completed("a", "data", "three", { reused: true }),
  delta("a", "You "),
  delta("a", "save"),
  ["thread_updated", "a", "advisor", { title: "A better title" }],
  done("a", "You save $1."),
  started("b"),
  delta("b", "So fa"),
  executing("b", "advisor", "four"),
  ["agent_cancelled", "b", "advisor", { status: "cancelled", message_id: "answer-b" }],
  asked("c", "Once more"),
  started("c"),
  delta("c", "Well"),
  [
    "agent_failed",
    "c",
    "advisor",
    { status: "failed", error_code: "agent_error", message: "No prices.", recoverable: false },
  ],
]);

const opened = (state = EMPTY, thread_id = THREAD) =>
  reduce(state, { type: "thread_opened", thread_id, at: AT, fresh: false });
const play = (events, state = opened()) => events.reduce(reduce, state);
const thread = (state, id = THREAD) => state.threads.get(id);
const run = (state, id) => thread(state).runs.find((one) => one.id === id);

/** What a page does with its socket: on a gap it asks for the log after what it has. */
function healed(events, state = opened()) {
  return events.reduce((before, event) => {
    const after = reduce(before, event);
    const { gap, last } = thread(after);
    return gap > last ? play(LOG.slice(last, event.seq), after) : after;
  }, state);
}

/** Numbers that look random and are the same in every run. */
function dice(seed) {
  let value = seed;
  return (sides) => {
    value = (value * 1103515245 + 12345) % 2147483648;
    return Math.floor((value / 2147483648) * sides);
  };
}

const WHOLE = play(LOG);

test("the terminal event's text is the answer, whatever the deltas were", () => {
  assert.equal(run(WHOLE, "a").text, "You save $1.");
  assert.equal(run(WHOLE, "a").status, "completed");
  assert.deepEqual(
    thread(WHOLE).messages.map(({ id, role, content }) => [id, role, content]),
    [
      ["question-a", "user", "How much?"],
      ["question-b", "user", "And then?"],
      ["answer-a", "assistant", "You save $1."],
      ["answer-b", "assistant", "So fa"],
      ["question-c", "user", "Once more"],
    ],
  );
});

test("a restart drops what the run had said and shown, and nothing of its neighbours", () => {
  const before = play(LOG.slice(0, 6));
  assert.equal(run(before, "a").text, "Half an ans");
  const after = play(LOG.slice(6, 7), before);
  assert.deepEqual([run(after, "a").text, run(after, "a").steps, run(after, "a").parts], ["", [], []]);
  assert.equal(run(after, "a").restarted, "its worker was lost");
  assert.equal(run(after, "a").attempt, 2);
  assert.deepEqual(run(after, "b"), run(before, "b"));
  assert.ok(!run(WHOLE, "a").steps.some((step) => step.tool_call_id === "lost"));
});

test("sub-agents nest, and one that is called twice has two parts", () => {
  const { parts, steps } = run(WHOLE, "a");
  const name = (key) => parts.find((part) => part.key === key)?.agent_name ?? null;
  assert.deepEqual(
    parts.map((part) => [part.agent_name, name(part.parent), part.summary]),
    [
      ["advisor", null, null],
      ["data", "advisor", "counted"],
      ["prices", "data", "priced"],
      ["data", "advisor", null],
    ],
  );
  assert.deepEqual(
    steps
      .filter((step) => step.kind === "tool")
      .map((step) => [step.tool_call_id, step.part, step.status, step.error, step.reused]),
    [
      ["one", 9, "completed", null, false],
      ["two", 13, "failed", "no such model", false],
      ["three", 18, "completed", null, true],
    ],
  );
});

test("a cancelled run keeps what was said; a failed one says why", () => {
  assert.deepEqual([run(WHOLE, "b").status, run(WHOLE, "b").text], ["cancelled", "So fa"]);
  assert.equal(run(WHOLE, "b").steps[0].status, "interrupted");
  assert.deepEqual(
    [run(WHOLE, "c").status, run(WHOLE, "c").error, run(WHOLE, "c").text],
    ["failed", "No prices.", "Well"],
  );
});

test("every prefix, then a replay from what it has, ends in the same state", () => {
  for (let cut = 0; cut <= LOG.length; cut += 1) {
    const part = play(LOG.slice(0, cut));
    assert.equal(thread(part).last, cut);
    assert.deepEqual(play(LOG.slice(cut), part), WHOLE, `cut at ${cut}`);
  }
});

test("what is older is ignored: replays from any point onto any prefix change nothing", () => {
  for (let cut = 0; cut <= LOG.length; cut += 1) {
    const part = play(LOG.slice(0, cut));
    assert.equal(play(LOG.slice(0, cut), part), part, `the first ${cut} again`);
    for (let from = 0; from < cut; from += 1) {
      assert.deepEqual(play(LOG.slice(from), part), WHOLE, `${from} after ${cut}`);
    }
  }
});

test("every missing event is a gap, and what comes after it waits", () => {
  for (let lost = 0; lost < LOG.length - 1; lost += 1) {
    const before = play(LOG.slice(0, lost));
    const after = play(LOG.slice(lost + 1), before);
    assert.equal(thread(after).last, lost);
    assert.equal(thread(after).gap, LOG.length);
    assert.deepEqual({ ...thread(after), gap: 0 }, thread(before), `without ${lost + 1}`);
    assert.deepEqual(after.active, before.active);
    const partly = play(LOG.slice(lost, lost + 1), after);
    assert.equal(thread(partly).gap, LOG.length);
    const mended = play(LOG.slice(lost), after);
    assert.equal(thread(mended).gap, 0);
    assert.deepEqual(mended, WHOLE);
  }
});

test("lost, doubled and shuffled, with a replay at every gap: the same state", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const roll = dice(seed);
    const storm = [];
    for (const event of LOG) {
      if (roll(4) > 0) storm.splice(Math.max(0, storm.length - roll(4)), 0, event);
      if (roll(4) === 0) storm.push(LOG[roll(LOG.length)]);
    }
    storm.push(LOG.at(-1));
    assert.deepEqual(healed(storm), WHOLE, `seed ${seed}`);
  }
});

test("an event changes no state that was handed out before", () => {
  const freeze = (value) => {
    if (value === null || typeof value !== "object" || Object.isFrozen(value)) return value;
    if (value instanceof Map) [...value.values()].forEach(freeze);
    Object.values(value).forEach(freeze);
    return Object.freeze(value);
  };
  assert.deepEqual(
    LOG.map(freeze).reduce((state, event) => freeze(reduce(state, event)), freeze(opened())),
    WHOLE,
  );
  assert.deepEqual(EMPTY, { threads: new Map(), active: new Map(), unsent: [] });
});

test("a thread that is not open keeps its entry, its title and its mark only", () => {
  const state = play(LOG.slice(0, 22), EMPTY);
  const { title, last, runs, messages } = thread(state);
  assert.deepEqual([title, last, runs, messages], ["A better title", 22, [], []]);
  assert.deepEqual(
    [...state.active],
    [
      ["a", THREAD],
      ["b", THREAD],
    ],
  );
  assert.equal(play(LOG.slice(0, 5), state), state);
  assert.deepEqual([...play(LOG, state).active], []);
});

test("opening a thread reads its log from the start", () => {
  const state = opened(play(LOG.slice(0, 10), EMPTY));
  assert.equal(thread(state).last, 0);
  assert.deepEqual(thread(play(LOG, state)).runs, thread(WHOLE).runs);
});

test("threads do not touch each other", () => {
  const other = log([asked("x", "Mine"), started("x"), delta("x", "only")], OTHER);
  const state = LOG.flatMap((event, index) => [event, ...other.slice(index, index + 1)]).reduce(
    reduce,
    opened(opened(), OTHER),
  );
  assert.deepEqual(thread(state), thread(WHOLE));
  assert.equal(thread(state, OTHER).runs[0].text, "only");
});

test("a deleted thread takes its runs and unsent messages with it", () => {
  const written = { type: "message_written", thread_id: THREAD, client_msg_id: "m", content: "?" };
  const state = reduce(reduce(play(LOG.slice(0, 3)), written), { type: "thread_deleted", thread_id: THREAD });
  assert.deepEqual(state, EMPTY);
});

test("a thread whose log was pruned goes on from its messages", () => {
  const messages = [
    { id: "question-a", role: "user", content: "How much?", run_id: "a" },
    { id: "answer-a", role: "assistant", content: "You save $1.", run_id: "a" },
    { id: "question-b", role: "user", content: "And then?", run_id: "b" },
  ];
  const behind = play(LOG.slice(20, 21));
  assert.equal(thread(behind).gap, 21);
  const working = reduce(behind, { type: "agent_status", runs: [{ run_id: "b", thread_id: THREAD }] });
  const state = reduce(working, { type: "thread_fetched", thread_id: THREAD, head: 24, messages });
  assert.deepEqual(
    thread(state).runs.map(({ id, status, text }) => [id, status, text]),
    [
      ["a", "completed", "You save $1."],
      ["b", "running", ""],
    ],
  );
  assert.equal(thread(state).gap, 0);
  const after = play(LOG, state);
  assert.equal(run(after, "b").status, "cancelled");
  assert.equal(run(after, "c").error, "No prices.");
  assert.equal(thread(after).last, LOG.length);
  const late = [...messages, { id: "answer-b", role: "assistant", content: "So fa", run_id: "b" }];
  const read = play(LOG, reduce(working, { type: "thread_fetched", thread_id: THREAD, head: 24, messages: late }));
  assert.equal(thread(read).messages.filter(({ id }) => id === "answer-b").length, 1);
});

test("an unsent message leaves with its event, or at an acceptance that comes after it", () => {
  const written = { type: "message_written", thread_id: THREAD, client_msg_id: "sent-a", content: "How much?" };
  const accepted = {
    type: "message_accepted",
    thread_id: THREAD,
    client_msg_id: "sent-a",
    message_id: "question-a",
    run_id: "a",
    seq: 1,
  };
  const waiting = reduce(opened(), written);
  assert.equal(waiting.unsent[0].status, "sending");
  assert.equal(reduce(waiting, accepted).unsent[0].status, "accepted");
  assert.deepEqual(play(LOG.slice(0, 1), reduce(waiting, accepted)).unsent, []);
  assert.deepEqual(play(LOG.slice(0, 1), waiting).unsent, []);
  assert.deepEqual(reduce(reduce(play(LOG.slice(0, 1)), written), accepted).unsent, []);
});

test("a refused message is kept with the reason; one to be sent again is not refused", () => {
  const written = { type: "message_written", thread_id: THREAD, client_msg_id: "m", content: "?" };
  const error = { type: "error", error_code: "too_large", message: "Too long.", recoverable: true, ref: "m" };
  const refused = reduce(reduce(opened(), written), error);
  assert.deepEqual([refused.unsent[0].status, refused.unsent[0].error], ["failed", "Too long."]);
  const again = reduce(refused, { type: "message_retried", client_msg_id: "m" });
  assert.deepEqual([again.unsent[0].status, again.unsent[0].error], ["sending", null]);
  assert.deepEqual(reduce(again, { ...error, error_code: "rate_limited", retry_after: 2 }).unsent, again.unsent);
  assert.deepEqual(reduce(refused, { type: "message_discarded", client_msg_id: "m" }).unsent, []);
});

test("a stop shows until its run has ended, and never on one that had", () => {
  const working = play(LOG.slice(0, 25));
  const stopping = reduce(working, { type: "stop_asked", run_id: "b" });
  assert.equal(run(stopping, "b").stopping, true);
  assert.deepEqual(reduce(stopping, { type: "stop_refused", run_id: "b" }), working);
  assert.deepEqual(play(LOG.slice(25), stopping), WHOLE);
  assert.deepEqual(reduce(WHOLE, { type: "stop_asked", run_id: "b" }), WHOLE);
});

test("a log counts as read when its last page has come", () => {
  const page = { type: "resumed", thread_id: THREAD, after: 5, head: 31, more: true };
  assert.equal(thread(reduce(opened(), page)).loaded, false);
  assert.equal(thread(reduce(opened(), { ...page, more: false })).loaded, true);
});
