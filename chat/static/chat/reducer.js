/**
 * What the page knows, as a pure function of what it was told: `state = reduce(state, event)`.
 *
 * An event is a frame of the server or one of the page's own (`Own`). A thread that was opened follows its log to the
 * letter: only `seq === last + 1` counts, what is older is dropped, what is beyond raises `gap`. Of a thread that was
 * not opened only the entry in the list is kept.
 */

/**
 * @typedef {Record<string, any> & {type: string}} Frame one JSON object of the wire
 *
 * @typedef {object} Message
 * @property {string} id
 * @property {"user" | "assistant"} role
 * @property {string} content
 * @property {string | null} run_id
 *
 * @typedef {object} Part what one agent did in one go: the run's own agent, or a sub-agent under it
 * @property {number} key the seq it began with
 * @property {string} agent_name
 * @property {number | null} parent the key of the part that called it
 * @property {string | null} task
 * @property {boolean} done
 * @property {string | null} summary
 * @property {number | null} duration_ms
 *
 * @typedef {object} Thought
 * @property {"thought"} kind
 * @property {number} key
 * @property {number} part
 * @property {string} text
 *
 * @typedef {object} ToolCall
 * @property {"tool"} kind
 * @property {number} key
 * @property {number} part
 * @property {string} tool_call_id
 * @property {string} tool_name
 * @property {unknown} parameters
 * @property {"running" | "completed" | "failed" | "interrupted"} status
 * @property {unknown} result
 * @property {string | null} error
 * @property {number | null} duration_ms
 * @property {boolean} reused
 * @property {boolean} truncated
 *
 * @typedef {Thought | ToolCall} Step
 *
 * @typedef {object} Run
 * @property {string} id
 * @property {string} agent
 * @property {"queued" | "running" | "completed" | "failed" | "cancelled"} status
 * @property {number} attempt
 * @property {string | null} restarted why what an earlier attempt said was dropped
 * @property {boolean} live it came while the thread was watched: what becomes of it is news
 * @property {boolean} stopping a stop was asked for here and has not come about yet
 * @property {string} text the answer so far
 * @property {Part[]} parts
 * @property {Step[]} steps
 * @property {string | null} error
 * @property {string | null} started_at
 * @property {number | null} duration_ms
 *
 * @typedef {object} Thread
 * @property {string} id
 * @property {string} title empty until the server's is known
 * @property {string} updated_at
 * @property {boolean} opened
 * @property {boolean} loaded its log has been read up to the head once
 * @property {boolean} missing the server does not know it
 * @property {number} last the newest seq that was taken
 * @property {number} gap a seq beyond `last + 1` that was seen and ignored; 0: none
 * @property {Message[]} messages
 * @property {Run[]} runs
 *
 * @typedef {object} Unsent a message that the log does not have yet
 * @property {string} client_msg_id
 * @property {string} thread_id
 * @property {string} content
 * @property {"sending" | "accepted" | "failed"} status
 * @property {string | null} error
 *
 * @typedef {object} State
 * @property {Map<string, Thread>} threads
 * @property {Map<string, string>} active run id to thread id
 * @property {Unsent[]} unsent
 *
 * @typedef {{id: string, title: string, updated_at: string}} ListedThread
 *
 * @typedef {{type: "threads_listed", threads: ListedThread[]}
 *   | {type: "thread_opened", thread_id: string, at: string, fresh: boolean}
 *   | {type: "thread_missing", thread_id: string}
 *   | {type: "thread_fetched", thread_id: string, head: number, messages: Message[]}
 *   | {type: "message_written", thread_id: string, client_msg_id: string, content: string}
 *   | {type: "message_retried" | "message_discarded", client_msg_id: string}
 *   | {type: "unsent_restored", unsent: Unsent[]}
 *   | {type: "stop_asked" | "stop_refused", run_id: string}} Own
 */

/** The error codes after which an unsent message is sent again by itself. */
export const SENT_AGAIN = new Set(["rate_limited", "unavailable"]);

const TERMINAL = new Set(["agent_completed", "agent_failed", "agent_cancelled"]);

/** @type {State} */
export const EMPTY = Object.freeze({ threads: new Map(), active: new Map(), unsent: [] });

/**
 * @param {Run} run
 * @returns {boolean}
 */
export const unfinished = (run) => run.status === "queued" || run.status === "running";

/**
 * @param {State} state
 * @param {Frame | Own} event
 * @returns {State}
 */
export function reduce(state, event) {
  const frame = /** @type {Frame} */ (event);
  if (typeof frame.seq === "number" && frame.type !== "message_accepted") return numbered(state, frame);
  switch (event.type) {
    case "threads_listed":
      return event.threads.reduce(listed, state);
    case "thread_opened":
      return withThread(state, event.thread_id, (thread) => ({
        ...thread,
        updated_at: thread.updated_at || event.at,
        opened: true,
        loaded: thread.loaded || event.fresh,
        missing: false,
        last: thread.opened ? thread.last : 0,
        runs: thread.runs.map((run) => ({ ...run, live: false })),
      }));
    case "thread_missing":
      return withThread(state, event.thread_id, (thread) => ({ ...thread, missing: true, loaded: true }));
    case "thread_fetched":
      return withThread(
        {
          ...state,
          unsent: state.unsent.filter((one) => one.thread_id !== event.thread_id || one.status !== "accepted"),
        },
        event.thread_id,
        (thread) => fetched(thread, event.head, event.messages, state.active),
      );
    case "thread_deleted":
      return withoutThread(state, event.thread_id);
    case "resumed":
      return withThread(state, event.thread_id, (thread) => ({ ...thread, loaded: thread.loaded || !event.more }));
    case "agent_status":
      return { ...state, active: new Map(event.runs.map((/** @type {Frame} */ run) => [run.run_id, run.thread_id])) };
    case "message_written": {
      const { thread_id, client_msg_id, content } = event;
      /** @type {Unsent} */
      const written = { client_msg_id, thread_id, content, status: "sending", error: null };
      return { ...state, unsent: [...state.unsent, written] };
    }
    case "unsent_restored":
      return { ...state, unsent: event.unsent };
    case "message_accepted":
      return accepted(state, event);
    case "message_retried":
      return withUnsent(state, event.client_msg_id, { status: "sending", error: null });
    case "message_discarded":
      return { ...state, unsent: state.unsent.filter((one) => one.client_msg_id !== event.client_msg_id) };
    case "stop_asked":
      return withRunAnywhere(state, event.run_id, (run) => ({ ...run, stopping: unfinished(run) }));
    case "stop_refused":
      return withRunAnywhere(state, event.run_id, (run) => ({ ...run, stopping: false }));
    case "error":
      return event.ref && !SENT_AGAIN.has(event.error_code)
        ? withUnsent(state, event.ref, { status: "failed", error: String(event.message) })
        : state;
    default:
      return state;
  }
}

/**
 * @param {State} state
 * @param {Frame} event
 * @returns {State}
 */
function numbered(state, event) {
  const thread = state.threads.get(event.thread_id) ?? newThread(event.thread_id);
  if (event.seq <= thread.last) return state;
  if (thread.opened && event.seq !== thread.last + 1) {
    return event.seq <= thread.gap ? state : put(state, { ...thread, gap: event.seq });
  }
  /** @type {Thread} */
  const next = {
    ...thread,
    last: event.seq,
    gap: thread.gap > event.seq ? thread.gap : 0,
    updated_at: later(thread.updated_at, event.timestamp),
    title: event.type === "thread_updated" ? event.title : thread.title,
  };
  return put(
    {
      ...state,
      active: activeAfter(state.active, event),
      unsent:
        event.type === "message_created" && event.client_msg_id
          ? state.unsent.filter((one) => one.client_msg_id !== event.client_msg_id)
          : state.unsent,
    },
    thread.opened ? told(next, event) : next,
  );
}

/**
 * The thread after its next event, whose number is already taken.
 * @param {Thread} thread
 * @param {Frame} event
 * @returns {Thread}
 */
function told(thread, event) {
  switch (event.type) {
    case "message_created":
      return withRun(
        withMessage(thread, {
          id: event.message_id,
          role: event.role,
          content: event.content,
          run_id: event.run_id,
        }),
        event,
        (run) => run,
      );
    case "agent_started":
      return withRun(thread, event, (run) => started(run, event));
    case "agent_thinking":
      return withRun(thread, event, (run) => ({
        ...run,
        steps: [...run.steps, { kind: "thought", key: event.seq, part: partOf(run, event), text: event.reasoning }],
      }));
    case "agent_delta":
      return withRun(thread, event, (run) => ({ ...run, text: run.text + event.delta }));
    case "tool_executing":
    case "tool_completed":
      return withRun(thread, event, (run) => ({ ...run, steps: withToolCall(run, event) }));
    case "subagent_completed":
      return withRun(thread, event, (run) => {
        const key = partOf(run, event);
        const { summary = null, duration_ms = null } = event;
        return {
          ...run,
          parts: run.parts.map((part) => (part.key === key ? { ...part, done: true, summary, duration_ms } : part)),
        };
      });
    case "run_restarted":
      return withRun(thread, event, (run) => ({
        ...run,
        attempt: event.attempt,
        restarted: String(event.reason ?? ""),
        text: "",
        parts: [],
        steps: [],
      }));
    case "agent_completed":
      return ended(thread, event, "completed", event.final_response);
    case "agent_failed":
      return ended(thread, event, "failed", null);
    case "agent_cancelled":
      return ended(thread, event, "cancelled", null);
    default:
      return thread;
  }
}

/**
 * @param {Run} run
 * @param {Frame} event
 * @returns {Run}
 */
function started(run, event) {
  const parent = event.parent_agent ? newest(run, event.parent_agent) : null;
  /** @type {Part} */
  const part = {
    key: event.seq,
    agent_name: event.agent_name,
    parent: parent?.key ?? null,
    task: event.task ?? null,
    done: false,
    summary: null,
    duration_ms: null,
  };
  return {
    ...run,
    agent: event.parent_agent ? run.agent : event.agent_name,
    status: "running",
    attempt: event.attempt,
    started_at: run.started_at ?? event.timestamp,
    parts: [...run.parts, part],
  };
}

/**
 * The newest part of this agent, one at work before one that is done.
 * @param {Run} run
 * @param {string} agent_name
 */
function newest(run, agent_name) {
  const own = run.parts.filter((part) => part.agent_name === agent_name);
  return own.findLast((part) => !part.done) ?? own.at(-1);
}

/**
 * @param {Run} run
 * @param {Frame} event
 * @returns {number} the key of the part that this event belongs to; 0: none is known
 */
const partOf = (run, event) => newest(run, event.agent_name)?.key ?? run.parts[0]?.key ?? 0;

/**
 * @param {Run} run
 * @param {Frame} event
 * @returns {Step[]}
 */
function withToolCall(run, event) {
  const known = run.steps.find((step) => step.kind === "tool" && step.tool_call_id === event.tool_call_id);
  /** @type {ToolCall} */
  const call = /** @type {ToolCall | undefined} */ (known) ?? {
    kind: "tool",
    key: event.seq,
    part: partOf(run, event),
    tool_call_id: event.tool_call_id,
    tool_name: event.tool_name,
    parameters: event.parameters,
    status: "running",
    result: undefined,
    error: null,
    duration_ms: null,
    reused: false,
    truncated: false,
  };
  /** @type {ToolCall} */
  const next =
    event.type === "tool_executing"
      ? call
      : {
          ...call,
          status: event.success ? "completed" : "failed",
          result: event.result,
          error: event.error ?? null,
          duration_ms: event.duration_ms ?? null,
          reused: event.reused === true,
          truncated: event.truncated === true,
        };
  return known ? run.steps.map((step) => (step === known ? next : step)) : [...run.steps, next];
}

/**
 * @param {Thread} thread
 * @param {Frame} event
 * @param {"completed" | "failed" | "cancelled"} status
 * @param {string | null} final the whole answer; null: what was said so far is all there is
 * @returns {Thread}
 */
function ended(thread, event, status, final) {
  const next = withRun(thread, event, (run) => ({
    ...run,
    status,
    stopping: false,
    text: final ?? run.text,
    error: status === "failed" ? String(event.message) : null,
    duration_ms:
      event.duration_ms ?? (run.started_at ? Date.parse(event.timestamp) - Date.parse(run.started_at) : null),
    parts: run.parts.map((part) => ({ ...part, done: true })),
    steps: run.steps.map((step) =>
      step.kind === "tool" && step.status === "running" ? { ...step, status: "interrupted" } : step,
    ),
  }));
  const text = next.runs.find((run) => run.id === event.run_id)?.text ?? "";
  return event.message_id
    ? withMessage(next, { id: event.message_id, role: "assistant", content: text, run_id: event.run_id })
    : next;
}

/**
 * A thread whose log begins after `head`: its messages were read instead.
 * @param {Thread} thread
 * @param {number} head
 * @param {Message[]} read oldest first
 * @param {Map<string, string>} active
 * @returns {Thread}
 */
function fetched(thread, head, read, active) {
  const messages = read.map((message) => ({ ...message, run_id: message.run_id ?? message.id }));
  /** @type {Map<string, Run>} */
  const runs = new Map();
  for (const { run_id, role, content } of messages) {
    const run = runs.get(run_id) ?? newRun(run_id, "", false);
    runs.set(run_id, {
      ...run,
      status: active.has(run_id) ? "running" : "completed",
      text: role === "assistant" ? content : run.text,
    });
  }
  return { ...thread, last: head, gap: 0, loaded: true, messages, runs: [...runs.values()] };
}

/**
 * @param {State} state
 * @param {Frame} frame
 * @returns {State}
 */
function accepted(state, frame) {
  const thread = state.threads.get(frame.thread_id);
  return thread && thread.last >= frame.seq
    ? { ...state, unsent: state.unsent.filter((one) => one.client_msg_id !== frame.client_msg_id) }
    : withUnsent(state, frame.client_msg_id, { status: "accepted", error: null });
}

/**
 * @param {Map<string, string>} active
 * @param {Frame} event
 * @returns {Map<string, string>}
 */
function activeAfter(active, event) {
  const over = TERMINAL.has(event.type);
  if (!event.run_id || over !== active.has(event.run_id)) return active;
  const next = new Map(active);
  if (over) next.delete(event.run_id);
  else next.set(event.run_id, event.thread_id);
  return next;
}

/**
 * @param {State} state
 * @param {ListedThread} entry
 * @returns {State}
 */
function listed(state, entry) {
  return withThread(state, entry.id, (thread) => ({
    ...thread,
    title: entry.title,
    updated_at: later(thread.updated_at, entry.updated_at),
  }));
}

/**
 * @param {string} a
 * @param {string} b
 */
const later = (a, b) => (a > b ? a : b);

/**
 * @param {string} id
 * @returns {Thread}
 */
const newThread = (id) => ({
  id,
  title: "",
  updated_at: "",
  opened: false,
  loaded: false,
  missing: false,
  last: 0,
  gap: 0,
  messages: [],
  runs: [],
});

/**
 * @param {string} id
 * @param {string} agent
 * @param {boolean} live
 * @returns {Run}
 */
const newRun = (id, agent, live) => ({
  id,
  agent,
  live,
  status: "queued",
  attempt: 0,
  restarted: null,
  stopping: false,
  text: "",
  parts: [],
  steps: [],
  error: null,
  started_at: null,
  duration_ms: null,
});

/**
 * @param {State} state
 * @param {Thread} thread
 * @returns {State}
 */
const put = (state, thread) => ({ ...state, threads: new Map(state.threads).set(thread.id, thread) });

/**
 * @param {State} state
 * @param {string} id
 * @param {(thread: Thread) => Thread} change
 * @returns {State}
 */
const withThread = (state, id, change) => put(state, change(state.threads.get(id) ?? newThread(id)));

/**
 * @param {State} state
 * @param {string} id
 * @returns {State}
 */
function withoutThread(state, id) {
  const threads = new Map(state.threads);
  threads.delete(id);
  return {
    threads,
    active: new Map([...state.active].filter(([, thread_id]) => thread_id !== id)),
    unsent: state.unsent.filter((one) => one.thread_id !== id),
  };
}

/**
 * @param {State} state
 * @param {string} client_msg_id
 * @param {Partial<Unsent>} change
 * @returns {State}
 */
const withUnsent = (state, client_msg_id, change) => ({
  ...state,
  unsent: state.unsent.map((one) => (one.client_msg_id === client_msg_id ? { ...one, ...change } : one)),
});

/**
 * @param {Thread} thread
 * @param {Message} message
 * @returns {Thread}
 */
const withMessage = (thread, message) => ({
  ...thread,
  messages: [...thread.messages.filter((one) => one.id !== message.id), message],
});

/**
 * @param {Thread} thread
 * @param {Frame} event
 * @param {(run: Run) => Run} change
 * @returns {Thread}
 */
function withRun(thread, event, change) {
  if (!event.run_id) return thread;
  const known = thread.runs.some((run) => run.id === event.run_id);
  const runs = known ? thread.runs : [...thread.runs, newRun(event.run_id, event.agent_name ?? "", thread.loaded)];
  return { ...thread, runs: runs.map((run) => (run.id === event.run_id ? change(run) : run)) };
}

/**
 * @param {State} state
 * @param {string} run_id
 * @param {(run: Run) => Run} change
 * @returns {State}
 */
function withRunAnywhere(state, run_id, change) {
  const thread = [...state.threads.values()].find((one) => one.runs.some((run) => run.id === run_id));
  return thread ? put(state, withRun(thread, { type: "", run_id }, change)) : state;
}
