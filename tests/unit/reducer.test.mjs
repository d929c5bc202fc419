// What the page shows is a function of the log alone: however the log arrives, the state is the same.

import assert from "node:assert/strict";
import { test } from "node:test";
import { atEnd, choices, leaf, path } from "../../chat/pages/static/chat/state/branches.js";
import { EMPTY } from "../../chat/pages/static/chat/state/model.js";
import { reduce } from "../../chat/pages/static/chat/state/reducer.js";

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

/** What a person wrote, as the page tells it. */
const written = (client_msg_id, content = "?", fields = {}) => ({
  type: "message_written",
  written: {
    client_msg_id,
    thread_id: THREAD,
    content,
    attachments: [],
    follows: null,
    agent: null,
    regenerates: null,
    ...fields,
  },
});

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

test("two sub-agents of one name at a time are told apart by their part, and from the run's agent of that name", () => {
  const begun = (part_id, task) => [
    "agent_started",
    "d",
    "data",
    { task, status: "started", parent_agent: "data", part_id },
  ];
  const asks = (request_id, fields) => ["input_requested", "d", "data", { request_id, kind: "form", ...fields }];
  const state = play(
    log([
      asked("d", "Both?"),
      started("d", "data"),
      begun("0000000a", "first"),
      begun("0000000b", "second"),
      asks("one", { part_id: "0000000a" }),
      asks("two", { part_id: "0000000b" }),
      asks("own", {}),
      ["agent_thinking", "d", "data", { reasoning: "of the first", part_id: "0000000a" }],
      ["subagent_completed", "d", "data", { summary: "counted", duration_ms: 20, part_id: "0000000a" }],
    ]),
  );
  const { parts, requests, steps } = run(state, "d");
  assert.deepEqual(
    parts.map(({ task, done, summary }) => [task, done, summary]),
    [
      ["what data does", false, null],
      ["first", true, "counted"],
      ["second", false, null],
    ],
  );
  const keys = parts.map(({ key }) => key);
  assert.deepEqual(
    requests.map(({ id, part }) => [id, keys.indexOf(part)]),
    [
      ["one", 1],
      ["two", 2],
      ["own", 0],
    ],
  );
  assert.equal(keys.indexOf(steps[0].part), 1);
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
  assert.deepEqual(EMPTY, {
    threads: new Map(),
    active: new Map(),
    waiting: new Set(),
    inputs: new Map(),
    unsent: [],
    answers: new Map(),
    feedback: new Map(),
    checklist: [],
    unread: new Map(),
    projects: [],
    stopping: new Set(),
  });
});

test("a step is checked until it is unchecked, however often it was listed", () => {
  const step = { message_id: "a", name: "batch" };
  const other = { message_id: "b", name: "batch" };
  const checked = [step, other, step].reduce(
    (state, one) => reduce(state, { type: "checklist_listed", checklist: [one] }),
    EMPTY,
  );
  assert.deepEqual(reduce(checked, { type: "step_unchecked", step }).checklist, [other]);
});

test("feedback is kept by its answer until it is withdrawn, and a newer one replaces it", () => {
  const one = { message_id: "a", rating: 1, comment: "" };
  const other = { message_id: "b", rating: -1, comment: "Wrong" };
  const listed = reduce(EMPTY, { type: "feedback_listed", feedback: [one, other] });
  const changed = reduce(listed, { type: "feedback_listed", feedback: [{ ...one, rating: -1 }] });
  assert.deepEqual([...changed.feedback.values()], [{ ...one, rating: -1 }, other]);
  const left = reduce(changed, { type: "feedback_withdrawn", message_id: "a" });
  assert.deepEqual([...left.feedback.keys()], ["b"]);
  assert.equal(EMPTY.feedback.size, 0);
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

test("an answer in a thread that nobody looks at is unread until it is seen; one in a log that is read first is not", () => {
  const elsewhere = play(LOG, EMPTY);
  assert.deepEqual([...elsewhere.unread.keys()], [THREAD]);
  const { seq } = elsewhere.unread.get(THREAD);
  const seeing = { type: "thread_seen", thread_id: THREAD, seen_seq: seq };
  assert.equal(reduce(elsewhere, { ...seeing, seen_seq: seq - 1 }), elsewhere);
  const seen = reduce(elsewhere, seeing);
  assert.equal(seen.unread.size, 0);
  assert.equal(reduce(seen, { ...seeing, thread_id: OTHER }), seen);
  assert.equal(play(LOG).unread.size, 0);
  const other = log([asked("x", "Mine"), started("x"), done("x", "Yours")], OTHER);
  const both = other.reduce(reduce, elsewhere);
  assert.deepEqual(
    [...both.unread].map(([id, { outcome }]) => [id, outcome]),
    [
      [THREAD, "failed"],
      [OTHER, "completed"],
    ],
  );
  assert.deepEqual([...reduce(both, { type: "thread_deleted", thread_id: OTHER }).unread.keys()], [THREAD]);
});

test("the list says which threads are unread, and forgets none that ended since it was read", () => {
  const entry = { id: THREAD, title: "", agent: "", updated_at: "", pinned: false, archived: false, temporary: false };
  const list = (of, more) => reduce(of, { type: "threads_listed", threads: [{ ...entry, ...more }] });
  const marked = list(EMPTY, { last_seq: 9, seen_seq: 3, unread: "failed" });
  assert.deepEqual([...marked.unread], [[THREAD, { outcome: "failed", seq: 9 }]]);
  assert.equal(list(marked, { last_seq: 9, seen_seq: 8, unread: null }).unread.size, 1);
  assert.equal(list(marked, { last_seq: 9, seen_seq: 9, unread: null }).unread.size, 0);
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
  const state = reduce(reduce(play(LOG.slice(0, 3)), written("m")), { type: "thread_deleted", thread_id: THREAD });
  assert.deepEqual(state, EMPTY);
});

test("a thread that was not known is there once an event of it comes", () => {
  const missing = reduce(reduce(EMPTY, opened()), { type: "thread_missing", thread_id: THREAD });
  assert.equal(missing.threads.get(THREAD).missing, true);
  assert.equal(play(LOG.slice(0, 1), missing).threads.get(THREAD).missing, false);
});

const MESSAGES = [
  { id: "question-a", role: "user", content: "How much?", run_id: "a", parent_id: null, attachments: [] },
  { id: "answer-a", role: "assistant", content: "You save $1.", run_id: "a", parent_id: "question-a", attachments: [] },
  { id: "question-b", role: "user", content: "And then?", run_id: "b", parent_id: null, attachments: [] },
];

test("a thread whose log was pruned goes on from its messages and what is left of the log", () => {
  const later = { ...MESSAGES[1], id: "answer-b", content: "So fa", run_id: "b", parent_id: "question-b" };
  for (const messages of [MESSAGES, [...MESSAGES, later]]) {
    const behind = play(LOG.slice(20, 21));
    assert.equal(thread(behind).gap, 21);
    const read = reduce(behind, { type: "thread_fetched", thread_id: THREAD, first: 20, messages });
    assert.equal(thread(read).gap, 0);
    assert.equal(run(read, "a").text, "You save $1.");
    const during = play(LOG.slice(0, 25), read);
    assert.equal(run(during, "b").status, "running");
    assert.equal(run(during, "b").text, "So fa");
    assert.deepEqual(run(play(LOG.slice(0, 22), read), "a"), run(read, "a"));
    const after = reduce(play(LOG, read), { type: "resumed", thread_id: THREAD, more: false });
    assert.deepEqual(
      thread(after).runs.map(({ id, status, text }) => [id, status, text]),
      [
        ["a", "completed", "You save $1."],
        ["b", "cancelled", "So fa"],
        ["c", "failed", "Well"],
      ],
    );
    assert.equal(thread(after).messages.filter(({ id }) => id === "answer-b").length, 1);
    assert.deepEqual([thread(after).last, thread(after).loaded], [LOG.length, true]);
  }
});

test("a page that is ahead of a server whose database was set back shows what that has", () => {
  const read = reduce(WHOLE, { type: "thread_fetched", thread_id: THREAD, first: 1, messages: MESSAGES.slice(0, 1) });
  assert.equal(thread(read).last, 0);
  const kept = LOG.slice(0, 5);
  const strip = ({ runs, messages }) => [runs, messages];
  assert.deepEqual(strip(thread(play(kept, read))), strip(thread(play(kept))));
});

test("an unsent message leaves with its event, or at an acceptance that comes after it", () => {
  const accepted = {
    type: "message_accepted",
    thread_id: THREAD,
    client_msg_id: "sent-a",
    message_id: "question-a",
    run_id: "a",
    seq: 1,
  };
  const waiting = reduce(opened(), written("sent-a", "How much?"));
  assert.equal(waiting.unsent[0].status, "sending");
  const [held] = reduce(waiting, accepted).unsent;
  assert.deepEqual([held.status, held.message_id], ["accepted", "question-a"]);
  assert.deepEqual(play(LOG.slice(0, 1), reduce(waiting, accepted)).unsent, []);
  assert.deepEqual(play(LOG.slice(0, 1), waiting).unsent, []);
  assert.deepEqual(reduce(reduce(play(LOG.slice(0, 1)), written("sent-a")), accepted).unsent, []);
});

test("a held message is sent once it is asked for", () => {
  const held = reduce(opened(), { ...written("sent-a"), held: true });
  assert.equal(held.unsent[0].status, "held");
  assert.equal(reduce(held, { type: "message_retried", client_msg_id: "sent-a" }).unsent[0].status, "sending");
});

test("a refused message is kept with the reason; one to be sent again is not refused", () => {
  const error = { type: "error", error_code: "too_large", message: "Too long.", recoverable: true, ref: "m" };
  const refused = reduce(reduce(opened(), written("m")), error);
  assert.deepEqual([refused.unsent[0].status, refused.unsent[0].error], ["failed", "Too long."]);
  const again = reduce(refused, { type: "message_retried", client_msg_id: "m" });
  assert.deepEqual([again.unsent[0].status, again.unsent[0].error], ["sending", null]);
  assert.deepEqual(reduce(again, { ...error, error_code: "rate_limited", retry_after: 2 }).unsent, again.unsent);
  assert.deepEqual(reduce(refused, { type: "message_discarded", client_msg_id: "m" }).unsent, []);
});

test("a stop that was asked for outlives a reload, until its run has ended", () => {
  const asking = reduce(play(LOG.slice(0, 6)), { type: "stop_asked", run_id: "b" });
  assert.deepEqual([...asking.stopping], ["b"]);
  const anew = reduce(EMPTY, { type: "outbox_restored", unsent: [], stopping: [...asking.stopping] });
  const queued = play(LOG.slice(0, 6), opened(anew));
  assert.equal(run(queued, "b").stopping, true);
  assert.deepEqual([...play(LOG, opened(anew)).stopping], []);
  assert.deepEqual([...play(LOG.slice(0, 27), anew).stopping], [], "in a thread that is not open too");
  const runs = [{ run_id: "a", thread_id: THREAD }];
  assert.deepEqual([...reduce(anew, { type: "agent_status", runs }).stopping], []);
  assert.deepEqual([...reduce(queued, { type: "stop_refused", run_id: "b" }).stopping], []);
});

test("a stop shows until its run has ended, and never on one that had", () => {
  const working = play(LOG.slice(0, 25));
  const stopping = reduce(working, { type: "stop_asked", run_id: "b" });
  assert.equal(run(stopping, "b").stopping, true);
  assert.deepEqual(reduce(stopping, { type: "stop_refused", run_id: "b" }), working);
  assert.deepEqual(play(LOG.slice(25), stopping), WHOLE);
  assert.deepEqual(reduce(WHOLE, { type: "stop_asked", run_id: "b" }), WHOLE);
});

test("an answer to a message that was written here is news, also while the log is still read", () => {
  const created = LOG.find((event) => event.type === "message_created" && event.role === "user");
  const asked = { ...created, seq: 1, client_msg_id: "m" };
  assert.equal(run(play([asked], reduce(opened(), written("m"))), created.run_id).live, true);
  assert.equal(run(play([asked]), created.run_id).live, false);
});

test("a log counts as read when its last page has come", () => {
  const page = { type: "resumed", thread_id: THREAD, after: 5, head: 31, more: true };
  assert.equal(thread(reduce(opened(), page)).loaded, false);
  assert.equal(thread(reduce(opened(), { ...page, more: false })).loaded, true);
});

// ---- Branches ----

/** A tree: `[id, role, parent, run]` a message. Runs are finished unless said otherwise. */
function tree(messages, runs = []) {
  const made = messages
    .filter(([, role]) => role === "assistant")
    .map(([, , parent, run_id]) => ({ id: run_id, message_id: parent, removed: false, status: "completed" }));
  return {
    ...thread(opened()),
    loaded: true,
    messages: messages.map(([id, role, parent_id, run_id = null]) => ({ id, role, parent_id, run_id, content: id })),
    runs: [...made, ...runs],
  };
}
const shown = (of) => path(of).map(({ message, run }) => [message.id, run?.id ?? null]);
const choose = (of, ...ids) => ({ ...of, chosen: new Map(ids.map((id, index) => [id, index + 1])) });

const BRANCHED = tree([
  ["q1", "user", null],
  ["a1", "assistant", "q1", "r1"],
  ["q2", "user", "a1"],
  ["a2", "assistant", "q2", "r2"],
  ["a1b", "assistant", "q1", "r1b"],
  ["q3", "user", "a1b"],
  ["a3", "assistant", "q3", "r3"],
  ["q2b", "user", "a1"],
]);

test("the newest of siblings is shown unless another was chosen, and what follows it with it", () => {
  assert.deepEqual(shown(BRANCHED), [
    ["q1", "r1b"],
    ["q3", "r3"],
  ]);
  assert.deepEqual(shown(choose(BRANCHED, "r1")), [
    ["q1", "r1"],
    ["q2b", null],
  ]);
  assert.deepEqual(shown(choose(BRANCHED, "q2", "r1")), [
    ["q1", "r1"],
    ["q2", "r2"],
  ]);
  assert.deepEqual(shown(choose(BRANCHED, "r1", "r1b")), shown(BRANCHED));
  const [first, second] = path(choose(BRANCHED, "r1"));
  assert.deepEqual([first.versions, first.siblings, second.siblings], [["r1", "r1b"], ["q1"], ["q2", "q2b"]]);
});

test("a thread that is opened with the choices of an earlier visit shows the same branch", () => {
  for (const chosen of [["r1"], ["q2", "r1"], []]) {
    const before = choose(BRANCHED, ...chosen);
    const again = { type: "thread_opened", thread_id: THREAD, at: AT, fresh: false, chosen: choices(before) };
    const { chosen: restored } = thread(reduce(EMPTY, again));
    assert.deepEqual(shown({ ...BRANCHED, chosen: restored }), shown(before));
  }
  assert.deepEqual(choices(choose(BRANCHED, "q2", "r1")), ["r1", "q2"]);
  const here = reduce(opened(), { type: "branch_chosen", thread_id: THREAD, id: "r1" });
  const back = reduce(here, { type: "thread_opened", thread_id: THREAD, at: AT, fresh: false, chosen: ["r1b"] });
  assert.deepEqual([...thread(back).chosen.keys()], ["r1"], "what was chosen here counts more");
});

test("a new message follows the answer that is shown, or the message where there is none yet", () => {
  assert.equal(leaf(BRANCHED), "a3");
  assert.equal(leaf(choose(BRANCHED, "r1")), "q2b");
  assert.equal(leaf(choose(BRANCHED, "q2", "r1")), "a2");
  assert.equal(leaf(tree([])), null);
  assert.equal(leaf({ ...BRANCHED, loaded: false }), undefined);
});

test("what was sent during an answer follows it, and what was taken out is passed over", () => {
  const run = (id, message_id, removed) => ({ id, message_id, removed, status: removed ? "cancelled" : "queued" });
  const queued = [
    ["q1", "user", null],
    ["q2", "user", "q1"],
    ["q3", "user", "q2"],
    ["a1", "assistant", "q1", "r1"],
  ];
  const waiting = tree(queued, [run("r2", "q2", false), run("r3", "q3", false)]);
  assert.deepEqual(shown(waiting), [
    ["q1", "r1"],
    ["q2", "r2"],
    ["q3", "r3"],
  ]);
  const without = tree(queued, [run("r2", "q2", true), run("r3", "q3", false)]);
  assert.deepEqual(shown(without), [
    ["q1", "r1"],
    ["q3", "r3"],
  ]);
  assert.deepEqual(shown(tree(queued, [run("r2", "q2", true), run("r3", "q3", true)])), [["q1", "r1"]]);
});

test("only a run that was cancelled behind another counts as taken out", () => {
  const cancelled = ["agent_cancelled", "b", "advisor", { status: "cancelled", attempt: 0 }];
  const behind = log([asked("a", "one"), started("a"), asked("b", "two", { parent_id: "question-a" }), cancelled]);
  behind.splice(2, 2, { ...behind[2], attempt: 0 }, behind[3]);
  assert.equal(run(play(behind), "b").removed, true);
  const alone = log([asked("b", "two"), cancelled]);
  alone[0].attempt = 0;
  const state = play(alone);
  assert.equal(run(state, "b").removed, false);
  assert.deepEqual(shown(thread(state)), [["question-b", "b"]]);
});

test("a run that an administrator stopped is told from one that its user stopped", () => {
  const end = (/** @type {object} */ more) =>
    run(
      play(
        log([asked("a", "one"), started("a"), ["agent_cancelled", "a", "advisor", { status: "cancelled", ...more }]]),
      ),
      "a",
    );
  assert.equal(end({ stopped_by: "administrator" }).stopped_by, "administrator");
  assert.equal(end({}).stopped_by, null);
});

test("another answer belongs to the message that its first event names, and is shown once it was asked for here", () => {
  const again = log([
    asked("a", "one"),
    started("a"),
    done("a", "first"),
    ["agent_started", "b", "advisor", { task: "one", parent_agent: null, message_id: "question-a" }],
    done("b", "second"),
  ]);
  again[4].message_id = "answer-b";
  assert.deepEqual(path(thread(play(again)))[0].versions, ["a", "b"]);
  const asking = reduce(play(again.slice(0, 3)), written("again", "", { regenerates: "answer-a" }));
  const answer = { type: "message_accepted", thread_id: THREAD, client_msg_id: "again", message_id: "question-a" };
  const accepted = reduce(asking, { ...answer, run_id: "b", seq: 3 });
  assert.deepEqual(accepted.unsent, []);
  assert.deepEqual(shown(thread(accepted)), [["question-a", "b"]]);
  assert.equal(run(accepted, "b").status, "queued");
  assert.deepEqual(shown(thread(play(again.slice(3), accepted))), [["question-a", "b"]]);
});

test("a message that follows an unsent one gets its id, or what that one followed", () => {
  const first = reduce(opened(), written("m1", "one", { parent_id: "p" }));
  const both = reduce(first, written("m2", "two", { follows: "m1" }));
  const accepted = { type: "message_accepted", thread_id: THREAD, client_msg_id: "m1", message_id: "id1", run_id: "r" };
  const [, second] = reduce(both, { ...accepted, seq: 1 }).unsent;
  assert.deepEqual([second.follows, second.parent_id], [null, "id1"]);
  const [left] = reduce(both, { type: "message_discarded", client_msg_id: "m1" }).unsent;
  assert.deepEqual([left.client_msg_id, left.follows, left.parent_id], ["m2", null, "p"]);
});

test("what is shown is at the end of the queue unless another branch was chosen", () => {
  const queued = { id: "r4", message_id: "q4", removed: false, status: "queued" };
  const line = [
    ["q1", "user", null],
    ["a1", "assistant", "q1", "r1"],
    ["q2", "user", "a1"],
    ["a2", "assistant", "q2", "r2"],
  ];
  assert.equal(atEnd(tree([])), true);
  assert.equal(atEnd(tree(line)), true);
  assert.equal(atEnd(tree([...line, ["q4", "user", "a2"]], [queued])), true);
  assert.equal(atEnd(tree([...line, ["q4", "user", "a2"]], [{ ...queued, removed: true }])), true);
  const edited = tree([...line, ["q4", "user", null]], [queued]);
  assert.equal(atEnd(edited), true);
  assert.equal(atEnd(choose(edited, "q1")), false);
  const again = tree(line, [{ ...queued, message_id: "q1" }]);
  assert.equal(atEnd(again), true);
  assert.equal(atEnd(choose(again, "r1")), false);
  assert.equal(atEnd({ ...tree(line), loaded: false }), false);
  assert.equal(atEnd(undefined), false);
});

test("a message at the end of the queue names no parent, and is shown wherever it comes", () => {
  const first = reduce(opened(), written("m1", "one", { at_end: true }));
  const both = reduce(first, written("m2", "two", { follows: "m1", at_end: true }));
  const accepted = { type: "message_accepted", thread_id: THREAD, client_msg_id: "m1", message_id: "id1", run_id: "r" };
  const [, second] = reduce(both, { ...accepted, seq: 1 }).unsent;
  assert.deepEqual([second.follows, "parent_id" in second], [null, false]);

  // Another tab has edited the first message meanwhile: this one's stands behind that.
  const events = log([
    asked("a", "one"),
    started("a"),
    done("a", "first"),
    asked("b", "one, edited"),
    asked("c", "three", { parent_id: "question-b", client_msg_id: "m3" }),
  ]);
  const chosen = reduce(play(events.slice(0, 3)), { type: "branch_chosen", thread_id: THREAD, id: "question-a" });
  const sent = reduce(chosen, written("m3", "three", { at_end: true }));
  assert.deepEqual(shown(thread(play(events.slice(3), sent))), [
    ["question-b", "b"],
    ["question-c", "c"],
  ]);
});

// ---- Live text ----

const SAID = ["Hello", "Hello 👍 world"]; // what the run says in its first and second attempt

/** A run that begins again, with its text logged in these pieces, and its end. */
const spoken = (pieces, end) =>
  log([
    asked("a", "Hello?"),
    started("a"),
    delta("a", "Hel"),
    ["run_restarted", "a", "advisor", { attempt: 2, reason: "worker_lost" }],
    ["agent_started", "a", "advisor", { attempt: 2, task: "", status: "started", parent_agent: null }],
    ...pieces.map((text) => ["agent_delta", "a", "advisor", { attempt: 2, delta: text }]),
    [end[0], "a", "advisor", { attempt: 2, message_id: "answer-a", ...end[1] }],
  ]);
const LOGS = {
  completed: spoken(["Hello ", "👍 wor", "ld"], ["agent_completed", { final_response: SAID[1], duration_ms: 1 }]),
  cancelled: spoken(["Hello ", "👍 wor"], ["agent_cancelled", { status: "cancelled", duration_ms: 1 }]),
};
const live = (attempt, from, to) => ({
  type: "live_delta",
  thread_id: THREAD,
  run_id: "a",
  attempt,
  agent_name: "advisor",
  offset: from,
  delta: SAID[attempt - 1].slice(from, to),
});

/** The state after this log, with these live frames before the events of these numbers. */
function interleaved(events, placed, start = opened()) {
  let state = start;
  for (let next = 0; next <= events.length; next += 1) {
    for (const [frame, at] of placed) if (at === next) state = reduce(state, frame);
    if (next < events.length) state = reduce(state, events[next]);
    const shown = run(state, "a");
    if (shown && shown.attempt > 0) {
      assert.ok(SAID[shown.attempt - 1].startsWith(shown.text), `shows ${shown.text}`);
      assert.ok(shown.text.length >= shown.logged);
    }
  }
  return state;
}

test("live text, wherever it comes between the events or not at all, ends in the state of the log", () => {
  const frames = [live(1, 2, 5), live(2, 0, 5), live(2, 5, 8), live(2, 8, 14)];
  for (const [name, events] of Object.entries(LOGS)) {
    const whole = play(events);
    const places = events.length + 2; // the last one: lost
    for (let choice = 0; choice < places ** frames.length; choice += 1) {
      const placed = frames.map((frame, n) => [frame, Math.floor(choice / places ** n) % places]);
      assert.deepEqual(run(interleaved(events, placed), "a"), run(whole, "a"), `${name}, choice ${choice}`);
    }
  }
});

test("live text in other pieces, doubled, shuffled and lost, beside a log that is read again from anywhere", () => {
  const roll = dice(11);
  for (const events of Object.values(LOGS)) {
    const whole = play(events);
    for (let round = 0; round < 500; round += 1) {
      const placed = Array.from({ length: roll(12) }, () => {
        const attempt = 1 + roll(2);
        const from = roll(SAID[attempt - 1].length);
        return [live(attempt, from, from + roll(9)), roll(events.length + 2)];
      });
      const upto = roll(events.length);
      const again = play(events.slice(roll(upto + 1)), interleaved(events.slice(0, upto), placed));
      assert.deepEqual(interleaved(events, placed, again), whole);
    }
  }
});

test("live text is shown before its event, once; after a gap it waits for its event", () => {
  const state = play(LOGS.completed.slice(0, 5));
  const first = reduce(state, live(2, 0, 8));
  assert.equal(run(first, "a").text, "Hello 👍");
  assert.deepEqual(reduce(first, live(2, 2, 6)), first);
  assert.deepEqual(reduce(first, live(2, 9, 12)), first);
  assert.equal(run(reduce(first, live(2, 5, 14)), "a").text, SAID[1]);
  assert.equal(run(reduce(first, LOGS.completed[5]), "a").text, "Hello 👍");
});

test("live text of another attempt, of a run that is not known or of a thread that is not open shows nothing", () => {
  const state = play(LOGS.completed.slice(0, 5));
  for (const frame of [live(1, 0, 5), { ...live(2, 0, 5), run_id: "b" }, { ...live(2, 0, 5), thread_id: OTHER }]) {
    assert.deepEqual(reduce(state, frame), state);
  }
  assert.deepEqual(reduce(EMPTY, live(2, 0, 5)), EMPTY);
});

// ---- Thoughts that grow ----

const THOUGHT = "Hm 🤔 so";
const thought = (id, text, fields) => [
  "agent_thinking",
  "a",
  "advisor",
  { reasoning: text, thought_id: id, ...fields },
];
const thinking = (id, from, to, attempt = 1) => ({
  ...live(1, 0, 0),
  type: "live_thinking",
  thought_id: id,
  attempt,
  offset: from,
  delta: THOUGHT.slice(from, to),
});
const THOUGHTS = {
  completed: log([
    asked("a", "?"),
    started("a"),
    thought("one", THOUGHT, { duration_ms: 900 }),
    delta("a", "x"),
    thought("two", THOUGHT),
    done("a", "x"),
  ]),
  restarted: log([
    asked("a", "?"),
    started("a"),
    ["run_restarted", "a", "advisor", { attempt: 2, reason: "worker_lost" }],
    ["agent_started", "a", "advisor", { attempt: 2, task: "", status: "started", parent_agent: null }],
    ["agent_thinking", "a", "advisor", { attempt: 2, reasoning: THOUGHT, thought_id: "two" }],
    ["agent_completed", "a", "advisor", { attempt: 2, final_response: "", duration_ms: 1, message_id: "answer-a" }],
  ]),
  cancelled: log([
    asked("a", "?"),
    started("a"),
    thought("one", THOUGHT),
    ["agent_cancelled", "a", "advisor", { status: "cancelled" }],
  ]),
};
const shownThoughts = (state) => run(state, "a").thinking.map(({ from, text }) => [from, text]);

test("pieces of thoughts, doubled, shuffled and lost, show what was thought and end in the state of the log", () => {
  const roll = dice(7);
  for (const events of Object.values(THOUGHTS)) {
    const whole = play(events);
    for (let round = 0; round < 1000; round += 1) {
      const frames = Array.from({ length: roll(10) }, () => {
        const from = roll(THOUGHT.length);
        return [thinking(roll(2) ? "one" : "two", from, from + 1 + roll(5), 1 + roll(2)), roll(events.length + 1)];
      });
      let state = opened();
      events.forEach((event, next) => {
        for (const [frame, at] of frames) if (at === next) state = reduce(state, frame);
        state = reduce(state, event);
        for (const { from, text, id } of run(state, "a").thinking) {
          assert.equal(THOUGHT.slice(from, from + text.length), text);
          assert.ok(!run(state, "a").steps.some((step) => step.id === id), "a thought is shown twice");
        }
      });
      for (const [frame] of frames) state = reduce(state, frame); // late
      assert.deepEqual(state, whole);
    }
  }
});

test("a thought is shown while it grows, once, and becomes a step with its duration", () => {
  const state = play(THOUGHTS.completed.slice(0, 2));
  const first = reduce(state, thinking("one", 0, 5));
  assert.deepEqual(shownThoughts(first), [[0, "Hm 🤔"]]);
  assert.deepEqual(reduce(first, thinking("one", 2, 5)), first);
  assert.deepEqual(shownThoughts(reduce(first, thinking("one", 2, 8))), [[0, THOUGHT]]);
  assert.deepEqual(shownThoughts(reduce(first, thinking("two", 0, 2))), [
    [0, "Hm 🤔"],
    [0, "Hm"],
  ]);
  const ended = reduce(first, THOUGHTS.completed[2]);
  assert.deepEqual(shownThoughts(ended), []);
  assert.deepEqual(
    run(ended, "a").steps.map(({ text, duration_ms }) => [text, duration_ms]),
    [[THOUGHT, 900]],
  );
  assert.deepEqual(reduce(ended, thinking("one", 5, 8)), ended);
});

test("a thought whose pieces are missing is shown from where they come again", () => {
  const state = play(THOUGHTS.completed.slice(0, 2));
  assert.deepEqual(shownThoughts(reduce(state, thinking("one", 3, 5))), [[3, "🤔"]]);
  const gap = reduce(reduce(state, thinking("one", 0, 2)), thinking("one", 6, 8));
  assert.deepEqual(shownThoughts(gap), [[6, "so"]]);
});

test("a thought of another attempt, and one of a run that ends, waits or restarts, is not shown", () => {
  const state = reduce(play(THOUGHTS.completed.slice(0, 2)), thinking("one", 0, 2));
  assert.deepEqual(reduce(state, thinking("two", 0, 2, 2)), state);
  const begun = [asked("a", "?"), started("a")];
  for (const next of [
    done("a", ""),
    ["run_waiting", "a", "advisor", { request_ids: [] }],
    ["run_restarted", "a", "advisor", { attempt: 2, reason: "worker_lost" }],
  ]) {
    assert.deepEqual(shownThoughts(reduce(state, log([...begun, next]).at(-1))), []);
  }
});

// ---- Input requests ----

const requested = (run, request_id, fields) => [
  "input_requested",
  run,
  "advisor",
  {
    request_id,
    kind: "form",
    message: `About ${request_id}?`,
    schema: { type: "object", properties: { value: { type: "string" } }, required: ["value"] },
    decided_by: "owner",
    four_eyes: false,
    expires_at: AT,
    ...fields,
  },
];
const resolved = (run, request_id, status, fields) => [
  "input_resolved",
  run,
  "advisor",
  { request_id, status, resolved_by: { user_id: "u", name: "Ann" }, via: "socket", ...fields },
];
const waiting = (run, ...request_ids) => ["run_waiting", run, "advisor", { request_ids }];
const resumed = (run, ...request_ids) => ["run_resumed", run, "advisor", { request_ids, waited_ms: 5000 }];

const ASKED = log([
  asked("a", "Delete?"),
  started("a"),
  delta("a", "Let me ask. "),
  requested("a", "one"),
  requested("a", "two", { kind: "approval", tool_name: "remove", parameters: { n: 1 }, editable: true }),
  waiting("a", "one", "two"),
  resolved("a", "one", "accepted", { content: { value: "x" } }),
  resumed("a", "one"),
  delta("a", "Thanks."),
  waiting("a", "two"),
  resolved("a", "two", "accepted", { parameters: { n: 2 }, edited: true, reason: "less" }),
  resumed("a", "two"),
  ["run_restarted", "a", "advisor", { attempt: 2, reason: "lost" }],
  started("a"),
  requested("a", "one", { reused: true }),
  resolved("a", "one", "accepted", { content: { value: "x" }, reused: true }),
  requested("a", "three"),
  resolved("a", "three", "expired", { resolved_by: null, via: "expiry" }),
  done("a", "Done."),
]);
const given = (request_id) => ({
  type: "answer_given",
  answer: { request_id, action: "accept", content: { value: "x" } },
});
const statuses = (state) => run(state, "a").requests.map(({ id, resolution }) => [id, resolution?.status ?? "open"]);

test("a request is open until its resolution, and its run waits until it is resumed", () => {
  const waits = play(ASKED.slice(0, 6));
  assert.deepEqual(statuses(waits), [
    ["one", "open"],
    ["two", "open"],
  ]);
  assert.equal(run(waits, "a").status, "waiting");
  assert.deepEqual(waits.waiting, new Set(["a"]));
  assert.equal(run(waits, "a").requests[1].parameters.n, 1);
  const answered = play(ASKED.slice(6, 7), waits);
  assert.deepEqual(statuses(answered), [
    ["one", "accepted"],
    ["two", "open"],
  ]);
  assert.equal(run(answered, "a").requests[0].resolution.by, "Ann");
  assert.deepEqual(answered.waiting, new Set(["a"]));
  const again = play(ASKED.slice(7, 8), answered);
  assert.equal(run(again, "a").status, "running");
  assert.equal(run(again, "a").waited_ms, 5000);
  assert.deepEqual(again.waiting, new Set());
});

test("what was resolved stays resolved over a restart, with the answer", () => {
  const restarted = play(ASKED.slice(0, 13));
  assert.deepEqual(statuses(restarted), [
    ["one", "accepted"],
    ["two", "accepted"],
  ]);
  const two = run(restarted, "a").requests[1].resolution;
  assert.deepEqual([two.values, two.edited, two.reason], [{ n: 2 }, true, "less"]);
  const end = play(ASKED);
  assert.deepEqual(statuses(end), [
    ["two", "accepted"],
    ["one", "accepted"],
    ["three", "expired"],
  ]);
  assert.equal(run(end, "a").requests[2].resolution.by, null);
  assert.equal(run(end, "a").status, "completed");
});

test("every prefix of a log with requests, then the log again from anywhere, ends in the same state", () => {
  const whole = play(ASKED);
  for (let upto = 0; upto <= ASKED.length; upto += 1) {
    for (let from = 0; from <= upto; from += 1) {
      assert.deepEqual(play(ASKED.slice(from), play(ASKED.slice(0, upto))), whole);
    }
  }
});

test("an answer that was given here is kept until the log has the resolution, also of another page", () => {
  const open = play(ASKED.slice(0, 6));
  const sent = reduce(open, given("one"));
  assert.equal(sent.answers.get("one").refused, null);
  assert.deepEqual(statuses(sent), statuses(open));
  assert.equal(play(ASKED.slice(6, 7), sent).answers.size, 0);
});

test("a refused answer has the field and the message; one to be sent again is not refused", () => {
  const sent = reduce(play(ASKED.slice(0, 6)), given("one"));
  const error = { type: "error", message: "no", recoverable: true, ref: "one" };
  assert.deepEqual(reduce(sent, { ...error, error_code: "rate_limited" }).answers, sent.answers);
  const refused = reduce(sent, { ...error, error_code: "invalid_message", field: "content.value" });
  assert.deepEqual(refused.answers.get("one").refused, { field: "content.value", message: "no" });
  assert.equal(reduce(refused, given("one")).answers.get("one").refused, null);
});

test("a waiting run that is stopped ends, and its requests are cancelled", () => {
  const events = log([
    asked("a", "?"),
    started("a"),
    requested("a", "one"),
    waiting("a", "one"),
    resolved("a", "one", "cancelled", { resolved_by: null, via: "stop" }),
    ["agent_cancelled", "a", "advisor", { status: "cancelled" }],
  ]);
  const end = play(events);
  assert.deepEqual(statuses(end), [["one", "cancelled"]]);
  assert.equal(run(end, "a").status, "cancelled");
  assert.deepEqual([end.waiting, end.active], [new Set(), new Map()]);
});

test("the list of active runs says which of them wait", () => {
  const runs = [
    { run_id: "a", thread_id: THREAD, agent: "x", status: "waiting", attempt: 1, started_at: AT },
    { run_id: "b", thread_id: THREAD, agent: "x", status: "running", attempt: 1, started_at: AT },
  ];
  assert.deepEqual(reduce(EMPTY, { type: "agent_status", runs }).waiting, new Set(["a"]));
});
