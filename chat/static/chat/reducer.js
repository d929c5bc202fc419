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
 * @property {string | null} run_id of an answer
 * @property {string | null} parent_id the message that it follows
 * @property {Attachment[]} attachments
 *
 * @typedef {object} Attachment
 * @property {string} id
 * @property {string} name
 * @property {string} media_type
 * @property {number} size in bytes
 * @property {Record<string, any> | null} recognised what the server made of it
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
 * @property {string} at
 * @property {number | null} duration_ms until the next event of the run
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
 * @property {string | null} message_id the user's message that it answers
 * @property {string} agent
 * @property {boolean} removed cancelled while it still waited behind another
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
 * @property {string} agent which agent answers here unless another is named; empty until the server's is known
 * @property {string} updated_at
 * @property {boolean} opened
 * @property {boolean} loaded its log has been read up to the head once
 * @property {boolean} missing the server does not know it
 * @property {number} last the newest seq that was taken
 * @property {number} gap a seq beyond `last + 1` that was seen and ignored; 0: none
 * @property {Message[]} messages
 * @property {Run[]} runs
 * @property {Map<string, number>} chosen ids of messages and runs that were chosen among their siblings, the last highest
 *
 * @typedef {object} Written what a person asked for: a message, or another answer
 * @property {string} client_msg_id
 * @property {string} thread_id
 * @property {string} content
 * @property {Attachment[]} attachments
 * @property {string | null} [parent_id] the message it follows; null: none; absent: the thread's newest
 * @property {string | null} follows the client_msg_id of the unsent message it follows, as long as that has no id
 * @property {string | null} agent null: the thread's
 * @property {string | null} regenerates the answer that another one is asked for; it has no content then
 *
 * @typedef {object} Sending
 * @property {"sending" | "accepted" | "failed"} status
 * @property {string | null} message_id once it was accepted
 * @property {string | null} error
 *
 * @typedef {Written & Sending} Unsent what the log does not have yet
 *
 * @typedef {object} State
 * @property {Map<string, Thread>} threads
 * @property {Map<string, string>} active run id to thread id
 * @property {Unsent[]} unsent
 * @property {Set<string>} stopping ids of the runs that were asked to stop here and have not ended yet
 *
 * @typedef {{id: string, title: string, agent: string, updated_at: string}} ListedThread
 *
 * @typedef {{type: "threads_listed", threads: ListedThread[]}
 *   | {type: "thread_opened", thread_id: string, at: string, fresh: boolean}
 *   | {type: "thread_missing", thread_id: string}
 *   | {type: "thread_fetched", thread_id: string, first: number, messages: Message[]}
 *   | {type: "message_written", written: Written}
 *   | {type: "branch_chosen", thread_id: string, id: string}
 *   | {type: "message_retried" | "message_discarded", client_msg_id: string}
 *   | {type: "outbox_restored", unsent: Unsent[], stopping: string[]}
 *   | {type: "stop_asked" | "stop_refused", run_id: string}} Own
 */

/** The error codes after which an unsent message is sent again by itself. */
export const SENT_AGAIN = new Set(["rate_limited", "unavailable"]);

const TERMINAL = new Set(["agent_completed", "agent_failed", "agent_cancelled"]);

/** @type {State} */
export const EMPTY = Object.freeze({ threads: new Map(), active: new Map(), unsent: [], stopping: new Set() });

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
        updated_at: event.fresh ? event.at : thread.updated_at,
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
        (thread) => fetched(thread, event.first, event.messages),
      );
    case "thread_deleted":
      return withoutThread(state, event.thread_id);
    case "resumed":
      return withThread(state, event.thread_id, (thread) => ({ ...thread, loaded: thread.loaded || !event.more }));
    case "agent_status": {
      const active = new Map(event.runs.map((/** @type {Frame} */ run) => [run.run_id, run.thread_id]));
      return { ...state, active, stopping: new Set([...state.stopping].filter((id) => active.has(id))) };
    }
    case "message_written":
      return {
        ...state,
        unsent: [...state.unsent, { ...event.written, status: "sending", message_id: null, error: null }],
      };
    case "branch_chosen":
      return withThread(state, event.thread_id, (thread) => choosing(thread, event.id));
    case "outbox_restored":
      return { ...state, unsent: event.unsent, stopping: new Set(event.stopping) };
    case "message_accepted":
      return accepted(state, event);
    case "message_retried":
      return withUnsent(state, event.client_msg_id, { status: "sending", error: null });
    case "message_discarded":
      return discarded(state, event.client_msg_id);
    case "stop_asked":
      return marked(state, event.run_id, true);
    case "stop_refused":
      return marked(state, event.run_id, false);
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
    missing: false,
    last: event.seq,
    gap: thread.gap > event.seq ? thread.gap : 0,
    updated_at: later(thread.updated_at, event.timestamp),
    title: event.type === "thread_updated" ? event.title : thread.title,
  };
  const taken = put({ ...state, active: activeAfter(state.active, event) }, thread.opened ? told(next, event) : next);
  const after = state.stopping.has(event.run_id) ? marked(taken, event.run_id, !TERMINAL.has(event.type)) : taken;
  return event.type === "message_created" && event.client_msg_id
    ? stored(after, event.client_msg_id, event.message_id)
    : after;
}

/**
 * @param {State} state
 * @param {string} run_id
 * @param {boolean} stopping a stop was asked for and is still to come about
 * @returns {State}
 */
function marked(state, run_id, stopping) {
  const after = withRunAnywhere(state, run_id, (run) => ({ ...run, stopping: stopping && unfinished(run) }));
  const over = [...after.threads.values()].some(({ runs }) => runs.some((run) => run.id === run_id && !unfinished(run)));
  const left = new Set(state.stopping);
  if (stopping && !over) left.add(run_id);
  else left.delete(run_id);
  return { ...after, stopping: left };
}

/**
 * An unsent message has its id: it is in the log.
 * @param {State} state
 * @param {string} client_msg_id
 * @param {string} message_id
 * @returns {State}
 */
function stored(state, client_msg_id, message_id) {
  const unsent = state.unsent.find((one) => one.client_msg_id === client_msg_id);
  if (!unsent) return state;
  return withThread(
    {
      ...state,
      unsent: state.unsent
        .filter((one) => one !== unsent)
        .map((one) => (one.follows === client_msg_id ? { ...one, follows: null, parent_id: message_id } : one)),
    },
    unsent.thread_id,
    (thread) => choosing(thread, message_id),
  );
}

/**
 * An unsent message is given up; what followed it follows what it followed.
 * @param {State} state
 * @param {string} client_msg_id
 * @returns {State}
 */
function discarded(state, client_msg_id) {
  const gone = state.unsent.find((one) => one.client_msg_id === client_msg_id);
  if (!gone) return state;
  const { follows } = gone;
  const parent = "parent_id" in gone ? { parent_id: gone.parent_id } : {};
  return {
    ...state,
    unsent: state.unsent
      .filter((one) => one !== gone)
      .map((one) => (one.follows === client_msg_id ? { ...one, ...parent, follows } : one)),
  };
}

/**
 * @param {Thread} thread
 * @param {string} id of a message or a run that is to be shown instead of its siblings
 * @returns {Thread}
 */
const choosing = (thread, id) => ({
  ...thread,
  chosen: new Map(thread.chosen).set(id, Math.max(0, ...thread.chosen.values()) + 1),
});

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
          run_id: null,
          parent_id: event.parent_id ?? null,
          attachments: event.attachments ?? [],
        }),
        event,
        (run) => ({ ...run, message_id: event.message_id }),
      );
    case "agent_started":
      return withRun(thread, event, (run) => started(run, event));
    case "agent_thinking":
      return withRun(thread, event, (run) => ({
        ...run,
        steps: [
          ...thoughtOver(run, event),
          {
            kind: "thought",
            key: event.seq,
            part: partOf(run, event),
            text: event.reasoning,
            at: event.timestamp,
            duration_ms: null,
          },
        ],
      }));
    case "agent_delta":
      return withRun(thread, event, (run) => ({
        ...run,
        // One that is over as its message says is told of again from somewhere in its middle.
        text: unfinished(run) ? run.text + event.delta : run.text,
        steps: thoughtOver(run, event),
      }));
    case "tool_executing":
    case "tool_completed":
      return withRun(thread, event, (run) => ({
        ...run,
        steps: withToolCall({ ...run, steps: thoughtOver(run, event) }, event),
      }));
    case "subagent_completed":
      return withRun(thread, event, (run) => {
        const key = partOf(run, event);
        const { summary = null, duration_ms = null } = event;
        return {
          ...run,
          steps: thoughtOver(run, event),
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
    message_id: event.message_id ?? run.message_id,
    status: "running",
    attempt: event.attempt,
    started_at: run.started_at ?? event.timestamp,
    text: event.parent_agent ? run.text : "",
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
 * The steps, the last thought with its duration if this event ends it.
 * @param {Run} run
 * @param {Frame} event
 * @returns {Step[]}
 */
function thoughtOver(run, event) {
  const last = run.steps.at(-1);
  if (last?.kind !== "thought" || last.duration_ms !== null) return run.steps;
  return [...run.steps.slice(0, -1), { ...last, duration_ms: Date.parse(event.timestamp) - Date.parse(last.at) }];
}

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
  const first = thread.runs.find(unfinished);
  const next = withRun(thread, event, (run) => ({
    ...run,
    status,
    removed: status === "cancelled" && run.attempt === 0 && first !== undefined && first.id !== run.id,
    stopping: false,
    text: final ?? run.text,
    error: status === "failed" ? String(event.message) : null,
    duration_ms:
      event.duration_ms ?? (run.started_at ? Date.parse(event.timestamp) - Date.parse(run.started_at) : null),
    parts: run.parts.map((part) => ({ ...part, done: true })),
    steps: thoughtOver(run, event).map((step) =>
      step.kind === "tool" && step.status === "running" ? { ...step, status: "interrupted" } : step,
    ),
  }));
  const run = next.runs.find((one) => one.id === event.run_id);
  return event.message_id
    ? withMessage(next, {
        id: event.message_id,
        role: "assistant",
        content: run?.text ?? "",
        run_id: event.run_id,
        parent_id: run?.message_id ?? null,
        attachments: [],
      })
    : next;
}

/**
 * A thread whose log cannot answer from where this page was: its messages were read instead. What the log still has,
 * the runs at work in it among them, is told of anew.
 * @param {Thread} thread
 * @param {number} first the seq that the log begins with
 * @param {Message[]} read oldest first
 * @returns {Thread}
 */
function fetched(thread, first, read) {
  const messages = read.map((message) =>
    message.role === "assistant" ? { ...message, run_id: message.run_id ?? message.id } : message,
  );
  const runs = messages.flatMap((answer) =>
    answer.role === "assistant" && answer.run_id
      ? {
          ...newRun(answer.run_id, "", false),
          message_id: answer.parent_id,
          status: /** @type {const} */ ("completed"),
          text: answer.content,
        }
      : [],
  );
  return { ...thread, last: first - 1, gap: 0, loaded: false, missing: false, messages, runs };
}

/**
 * @param {State} state
 * @param {Frame} frame
 * @returns {State}
 */
function accepted(state, frame) {
  const unsent = state.unsent.find((one) => one.client_msg_id === frame.client_msg_id);
  if (!unsent) return state;
  if (unsent.regenerates) {
    // No event tells of it before it starts.
    const run = { run_id: frame.run_id, agent_name: unsent.agent };
    return withThread(discarded(state, frame.client_msg_id), frame.thread_id, (thread) =>
      choosing(
        withRun(thread, run, (one) => ({ ...one, message_id: frame.message_id })),
        frame.run_id,
      ),
    );
  }
  const thread = state.threads.get(frame.thread_id);
  if (thread && thread.last >= frame.seq) return stored(state, frame.client_msg_id, frame.message_id);
  const next = withUnsent(state, frame.client_msg_id, {
    status: "accepted",
    message_id: frame.message_id,
    error: null,
  });
  return {
    ...next,
    unsent: next.unsent.map((one) =>
      one.follows === frame.client_msg_id ? { ...one, follows: null, parent_id: frame.message_id } : one,
    ),
  };
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
    agent: entry.agent,
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
  agent: "",
  updated_at: "",
  opened: false,
  loaded: false,
  missing: false,
  last: 0,
  gap: 0,
  messages: [],
  runs: [],
  chosen: new Map(),
});

/**
 * @param {string} id
 * @param {string} agent
 * @param {boolean} live
 * @returns {Run}
 */
const newRun = (id, agent, live) => ({
  id,
  message_id: null,
  agent,
  removed: false,
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
    ...state,
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
 * @param {Record<string, any>} event
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
  return thread ? put(state, withRun(thread, { run_id }, change)) : state;
}
