/** Types of the page's state, and the functions that replace a part of it. State is never changed in place. */

/**
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
 * @property {string | null} part_id of a sub-agent: it tells two of one name apart; null also in older logs
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
 * @property {string | null} id of one that was shown while it grew
 * @property {number} part
 * @property {string} text
 * @property {string} at
 * @property {number | null} duration_ms how long it grew, or until the next event of the run
 *
 * @typedef {object} GrowingThought a thought whose event comes at its end
 * @property {string} id
 * @property {number} part
 * @property {number} from where the text begins in the thought; not 0 if the beginning was missed
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
 * @typedef {object} Request an input request: a question of the run to a person
 * @property {string} id
 * @property {number} key the seq it was asked with
 * @property {number} part
 * @property {string} agent_name
 * @property {"form" | "approval" | "link"} kind
 * @property {string} message
 * @property {Record<string, any> | null} schema
 * @property {unknown} default
 * @property {string | null} tool_name
 * @property {unknown} parameters as proposed
 * @property {boolean} editable
 * @property {string} decided_by `owner` or `group:<name>`
 * @property {boolean} four_eyes
 * @property {boolean} may_remember false: the policy asks each time
 * @property {string} expires_at
 * @property {string | null} reason
 * @property {Resolution | null} resolution null: open
 *
 * @typedef {object} Resolution
 * @property {"accepted" | "declined" | "expired" | "cancelled"} status
 * @property {unknown} values of a form, or the parameters of an approval as they will run
 * @property {boolean} edited
 * @property {string | null} reason
 * @property {string | null} by the name of the person; null: no person
 * @property {string} via
 * @property {string} at
 *
 * @typedef {object} Listing what the list of input requests says beside the request
 * @property {string} thread_id
 * @property {string} created_at
 * @property {boolean} own its run is the user's; else it is for the user to decide
 *
 * @typedef {Request & Listing} Input
 *
 * @typedef {object} Feedback what the user thinks of an answer
 * @property {string} message_id
 * @property {1 | -1} rating
 * @property {string} comment
 *
 * @typedef {{message_id: string, name: string}} CheckedStep a step of an answer that is done
 *
 * @typedef {object} GivenAnswer an answer that was given on this page
 * @property {string} request_id
 * @property {"accept" | "decline"} action
 * @property {unknown} [content]
 * @property {unknown} [parameters]
 * @property {string} [reason]
 * @property {"thread"} [remember] accept further calls of the tool in the thread
 *
 * @typedef {object} Run
 * @property {string} id
 * @property {string | null} message_id the user's message that it answers
 * @property {string} agent
 * @property {boolean} removed cancelled while it still waited behind another
 * @property {"queued" | "running" | "waiting" | "completed" | "failed" | "cancelled"} status
 * @property {number} attempt
 * @property {string | null} restarted why what an earlier attempt said was dropped
 * @property {boolean} live it came while the thread was watched: what becomes of it is news
 * @property {boolean} stopping a stop was asked for here and has not come about yet
 * @property {string | null} stopped_by whose stop ended it, if it was not its user's
 * @property {string} text the answer so far
 * @property {number} logged the length of its part that came in events; the rest is live text
 * @property {Part[]} parts
 * @property {Step[]} steps
 * @property {GrowingThought[]} thinking
 * @property {Request[]} requests in the order in which they were asked
 * @property {string | null} waiting_since it waits for persons since then
 * @property {number} waited_ms how long it has waited for persons before
 * @property {unknown} result data of the agent, once it has succeeded
 * @property {unknown} usage what it used up, once it has succeeded
 * @property {string | null} error
 * @property {string | null} started_at
 * @property {number | null} duration_ms
 *
 * @typedef {object} Thread
 * @property {string} id
 * @property {string} title empty until the server's is known
 * @property {string} agent which agent answers here unless another is named; empty until the server's is known
 * @property {string} updated_at
 * @property {boolean} pinned
 * @property {boolean} archived only a search finds it
 * @property {boolean} temporary it is in no list, and deleted when it is left
 * @property {string | null} project_id
 * @property {unknown} usage of all its runs; null: not read yet
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
 * @property {string | null} [parent_id] the message it follows; null: none; absent: the end of the thread's queue
 * @property {string | null} follows the client_msg_id of the unsent message it follows, as long as that has no id
 * @property {boolean} [at_end] it follows whatever is last in the thread's queue once it arrives: it names no parent
 * @property {string | null} agent null: the thread's
 * @property {string | null} regenerates the answer that another one is asked for; it has no content then
 *
 * @typedef {object} Sending
 * @property {"sending" | "held" | "accepted" | "failed"} status held: it waits until it is sent or discarded by hand
 * @property {string | null} message_id once it was accepted
 * @property {string | null} error
 *
 * @typedef {Written & Sending} Unsent what the log does not have yet
 *
 * @typedef {object} State
 * @property {Map<string, Thread>} threads
 * @property {Map<string, string>} active run id to thread id
 * @property {Set<string>} waiting ids of the active runs that wait for persons
 * @property {Map<string, Input>} inputs of all threads, and those of others: open ones, and those resolved since
 * @property {Unsent[]} unsent
 * @property {Map<string, GivenAnswer & {refused: {field: string | null, message: string} | null}>} answers by request id:
 *   given here and not in the log yet
 * @property {Map<string, Feedback>} feedback by the id of the answer
 * @property {CheckedStep[]} checklist
 * @property {Map<string, {outcome: Outcome, seq: number}>} unread threads with an answer that the user has not seen:
 *   how its run ended, and up to which event the thread is to be seen
 * @property {Project[]} projects by name
 * @property {Set<string>} stopping ids of the runs that were asked to stop here and have not ended yet
 *
 * @typedef {{id: string, title: string, agent: string, updated_at: string, pinned: boolean, archived: boolean,
 *   temporary: boolean, project_id: string | null, last_seq?: number, seen_seq?: number,
 *   unread?: Outcome | null, usage?: unknown}} ListedThread  those with a question mark: only as the server has it;
 *   `usage`: only where one is asked for
 *
 * @typedef {"completed" | "failed"} Outcome
 * @typedef {{id: string, name: string, instructions: string, attachments: Attachment[]}} Project
 * @typedef {{name: string, instructions: string, attachment_ids: string[]}} ProjectFields
 *
 * @typedef {{type: "threads_listed", threads: ListedThread[]}
 *   | {type: "thread_opened", thread_id: string, at: string, fresh: boolean, chosen?: string[]}
 *   | {type: "thread_missing", thread_id: string}
 *   | {type: "thread_fetched", thread_id: string, first: number, messages: Message[]}
 *   | {type: "message_written", written: Written, held?: boolean}
 *   | {type: "branch_chosen", thread_id: string, id: string}
 *   | {type: "message_retried", client_msg_id: string, change?: {content: string}}
 *   | {type: "message_discarded", client_msg_id: string}
 *   | {type: "outbox_restored", unsent: Unsent[], stopping: string[]}
 *   | {type: "answer_given", answer: GivenAnswer}
 *   | {type: "inputs_listed", inputs: Input[]}
 *   | {type: "inputs_shown"}
 *   | {type: "feedback_listed", feedback: Feedback[]}
 *   | {type: "feedback_withdrawn", message_id: string}
 *   | {type: "checklist_listed", checklist: CheckedStep[]}
 *   | {type: "step_unchecked", step: CheckedStep}
 *   | {type: "projects_listed", projects: Project[]}
 *   | {type: "stop_asked" | "stop_refused", run_id: string}} Own
 */

/** @type {State} */
export const EMPTY = Object.freeze({
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

/**
 * @param {Run} run
 * @returns {boolean}
 */
export const unfinished = (run) => run.status === "waiting" || inQueue(run);

/**
 * @param {Run} run
 * @returns {boolean} later runs of its thread stand behind it; a waiting run delays none
 */
export const inQueue = (run) => run.status === "queued" || run.status === "running";

/**
 * @param {string} id
 * @returns {Thread}
 */
export const newThread = (id) => ({
  id,
  title: "",
  agent: "",
  updated_at: "",
  pinned: false,
  archived: false,
  temporary: false,
  project_id: null,
  usage: null,
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
export const newRun = (id, agent, live) => ({
  id,
  message_id: null,
  agent,
  removed: false,
  live,
  status: "queued",
  attempt: 0,
  restarted: null,
  stopping: false,
  stopped_by: null,
  text: "",
  logged: 0,
  parts: [],
  steps: [],
  thinking: [],
  requests: [],
  waiting_since: null,
  waited_ms: 0,
  result: null,
  usage: null,
  error: null,
  started_at: null,
  duration_ms: null,
});

/**
 * @param {State} state
 * @param {Thread} thread
 * @returns {State}
 */
export const put = (state, thread) => ({ ...state, threads: new Map(state.threads).set(thread.id, thread) });

/**
 * @param {State} state
 * @param {string} id
 * @param {(thread: Thread) => Thread} change
 * @returns {State}
 */
export const withThread = (state, id, change) => put(state, change(state.threads.get(id) ?? newThread(id)));

/**
 * @param {Thread} thread
 * @param {Message} message
 * @returns {Thread}
 */
export const withMessage = (thread, message) => ({
  ...thread,
  messages: thread.messages.some((one) => one.id === message.id)
    ? [...thread.messages.filter((one) => one.id !== message.id), message]
    : [...thread.messages, message],
});

/**
 * @param {Thread} thread
 * @param {{run_id: string | null, agent_name?: string | null}} event
 * @param {(run: Run) => Run} change
 * @returns {Thread}
 */
export function withRun(thread, event, change) {
  const { run_id } = event;
  if (!run_id) return thread;
  const { runs } = thread;
  // Most events are of one of the last runs: a long log is applied in time.
  const at = runs.findLastIndex(({ id }) => id === run_id);
  if (at >= 0) return { ...thread, runs: runs.with(at, change(runs[at])) };
  return { ...thread, runs: [...runs, change(newRun(run_id, event.agent_name ?? "", thread.loaded))] };
}

/**
 * @param {State} state
 * @param {string} run_id
 * @param {(run: Run) => Run} change
 * @returns {State}
 */
export function withRunAnywhere(state, run_id, change) {
  const thread = [...state.threads.values()].find((one) => one.runs.some((run) => run.id === run_id));
  return thread ? put(state, withRun(thread, { run_id }, change)) : state;
}

/**
 * @param {Thread} thread
 * @param {string} id of a message or a run that is to be shown instead of its siblings
 * @returns {Thread}
 */
export const choose = (thread, id) => ({
  ...thread,
  chosen: new Map(thread.chosen).set(id, Math.max(0, ...thread.chosen.values()) + 1),
});

export const TERMINAL = new Set(["agent_completed", "agent_failed", "agent_cancelled"]);

/**
 * @param {string} a
 * @param {string} b
 */
export const later = (a, b) => (a > b ? a : b);
