/**
 * The page's state as a pure function of the events that reached it: `state = reduce(state, event)`.
 *
 * An event is a frame of the server or one of the page's own (`Own`). An opened thread applies its log in order: an
 * event counts if `seq === last + 1`, an older one is dropped, a later one raises `gap`. Of a thread that was not opened
 * only the entry in the list is kept.
 */

import { choose, later, newThread, put, TERMINAL, unfinished, withRun, withRunAnywhere, withThread } from "./model.js";
import { forgetInputsOf, forgetResolved, listInputs, resolveInput } from "./inputs.js";
import { giveAnswer, refuseAnswer, settleAnswer } from "./requests.js";
import { acceptMessage, discardMessage, SENT_AGAIN, settleMessage, withUnsent } from "./outbox.js";
import { addLiveText, addLiveThought } from "./run.js";
import { applyEvent, loadMessages } from "./thread.js";

/**
 * @typedef {import("../net/frames.js").NumberedEvent} NumberedEvent
 * @typedef {import("../net/frames.js").ServerFrame} ServerFrame
 * @typedef {import("./model.js").ListedThread} ListedThread
 * @typedef {import("./model.js").Own} Own
 * @typedef {import("./model.js").Run} Run
 * @typedef {import("./model.js").State} State
 * @typedef {import("./model.js").Thread} Thread
 */

/**
 * Apply one event.
 * @param {State} state
 * @param {ServerFrame | Own} event
 * @returns {State}
 */
export function reduce(state, event) {
  if ("seq" in event && event.type !== "message_accepted" && event.type !== "answer_accepted") {
    return takeNumbered(state, event);
  }
  switch (event.type) {
    case "threads_listed":
      return event.threads.reduce(mergeListed, state);
    case "thread_opened":
      return withThread(state, event.thread_id, (thread) => ({
        ...thread,
        updated_at: event.fresh ? event.at : thread.updated_at,
        opened: true,
        loaded: thread.loaded || event.fresh,
        missing: false,
        last: thread.opened ? thread.last : 0,
        chosen: thread.chosen.size > 0 ? thread.chosen : ranked(event.chosen ?? []),
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
        (thread) => loadMessages(thread, event.first, event.messages),
      );
    case "thread_deleted":
      return withoutThread(state, event.thread_id);
    case "live_delta":
      return takeLive(state, event, (run) => addLiveText(run, event));
    case "live_thinking":
      return takeLive(state, event, (run) => addLiveThought(run, event));
    case "resumed":
      return withThread(state, event.thread_id, (thread) => ({ ...thread, loaded: thread.loaded || !event.more }));
    case "agent_status": {
      const active = new Map(event.runs.map((run) => [run.run_id, run.thread_id]));
      const waiting = new Set(event.runs.filter((run) => run.status === "waiting").map((run) => run.run_id));
      return { ...state, active, waiting, stopping: new Set([...state.stopping].filter((id) => active.has(id))) };
    }
    case "message_written":
      return {
        ...state,
        unsent: [
          ...state.unsent,
          { ...event.written, status: event.held ? "held" : "sending", message_id: null, error: null },
        ],
      };
    case "branch_chosen":
      return withThread(state, event.thread_id, (thread) => choose(thread, event.id));
    case "outbox_restored":
      return { ...state, unsent: event.unsent, stopping: new Set(event.stopping) };
    case "message_accepted":
      return acceptMessage(state, event);
    case "message_retried":
      return withUnsent(state, event.client_msg_id, { ...event.change, status: "sending", error: null });
    case "message_discarded":
      return discardMessage(state, event.client_msg_id);
    case "answer_given":
      return giveAnswer(state, event.answer);
    case "inputs_listed":
      return listInputs(state, event.inputs);
    case "inputs_shown":
      return forgetResolved(state);
    case "feedback_listed":
      return {
        ...state,
        feedback: new Map([
          ...state.feedback,
          ...event.feedback.map((one) => /** @type {const} */ ([one.message_id, one])),
        ]),
      };
    case "feedback_withdrawn":
      return { ...state, feedback: new Map([...state.feedback].filter(([id]) => id !== event.message_id)) };
    case "checklist_listed":
      return { ...state, checklist: [...event.checklist, ...state.checklist] };
    case "step_unchecked": {
      const { message_id, name } = event.step;
      return {
        ...state,
        checklist: state.checklist.filter((one) => one.message_id !== message_id || one.name !== name),
      };
    }
    case "thread_seen":
      return withoutUnread(state, event.thread_id, event.seen_seq);
    case "projects_listed":
      return { ...state, projects: event.projects };
    case "stop_asked":
      return markStopping(state, event.run_id, true);
    case "stop_refused":
      return markStopping(state, event.run_id, false);
    case "error": {
      if (!event.ref || SENT_AGAIN.has(event.error_code)) return state;
      const { message, field = null } = event;
      const ref = String(event.ref);
      return refuseAnswer(withUnsent(state, ref, { status: "failed", error: message }), ref, { field, message });
    }
    default:
      return state;
  }
}

/**
 * @param {string[]} ids in the order in which they were chosen
 * @returns {Map<string, number>}
 */
const ranked = (ids) => new Map(ids.map((id, index) => [id, index + 1]));

/**
 * Apply an event of a thread's log.
 * @param {State} state
 * @param {NumberedEvent} event
 * @returns {State}
 */
function takeNumbered(state, event) {
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
  const taken = put(
    {
      ...state,
      active: activeAfter(state.active, event),
      waiting: waitingAfter(state.waiting, event),
      unread: unreadAfter(state.unread, event, thread),
    },
    thread.opened ? applyEvent(next, event) : next,
  );
  if (event.type === "input_resolved") return resolveInput(settleAnswer(taken, event.request_id), event);
  const after =
    event.run_id && state.stopping.has(event.run_id)
      ? markStopping(taken, event.run_id, !TERMINAL.has(event.type))
      : taken;
  return event.type === "message_created" && event.client_msg_id
    ? settleMessage(after, event.client_msg_id, event.message_id)
    : after;
}

/**
 * Show something of a run before its event comes.
 * @param {State} state
 * @param {import("../net/frames.js").LiveDelta | import("../net/frames.js").LiveThinking} frame
 * @param {(run: Run) => Run} change
 * @returns {State}
 */
function takeLive(state, frame, change) {
  const thread = state.threads.get(frame.thread_id);
  const isKnown = thread?.opened && thread.runs.some((run) => run.id === frame.run_id);
  return isKnown ? put(state, withRun(thread, frame, change)) : state;
}

/**
 * Mark a run as asked to stop, or take the mark away.
 * @param {State} state
 * @param {string} run_id
 * @param {boolean} stopping a stop was asked for and is still to come about
 * @returns {State}
 */
function markStopping(state, run_id, stopping) {
  const after = withRunAnywhere(state, run_id, (run) => ({ ...run, stopping: stopping && unfinished(run) }));
  const over = [...after.threads.values()].some(({ runs }) =>
    runs.some((run) => run.id === run_id && !unfinished(run)),
  );
  const left = new Set(state.stopping);
  if (stopping && !over) left.add(run_id);
  else left.delete(run_id);
  return { ...after, stopping: left };
}

/**
 * @param {Map<string, string>} active
 * @param {NumberedEvent} event
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
 * @param {Set<string>} waiting
 * @param {NumberedEvent} event
 * @returns {Set<string>}
 */
function waitingAfter(waiting, event) {
  const { run_id } = event;
  const waits = event.type === "run_waiting" || (event.type === "input_resolved" && waiting.has(run_id ?? ""));
  if (!run_id || waits === waiting.has(run_id)) return waiting;
  const next = new Set(waiting);
  if (waits) next.add(run_id);
  else next.delete(run_id);
  return next;
}

/**
 * @param {State["unread"]} unread
 * @param {NumberedEvent} event
 * @param {Thread} thread that it is of, as it was before
 * @returns {State["unread"]}
 */
function unreadAfter(unread, event, thread) {
  // What is read of an opened thread's log for the first time is no news.
  if (thread.opened && !thread.loaded) return unread;
  if (event.type !== "agent_completed" && event.type !== "agent_failed") return unread;
  const outcome = event.type === "agent_failed" ? "failed" : "completed";
  return new Map(unread).set(event.thread_id, { outcome, seq: event.seq });
}

/**
 * @param {State} state
 * @param {string} thread_id
 * @param {number} [seen_seq] the last event of it that the user has seen
 * @returns {State}
 */
function withoutUnread(state, thread_id, seen_seq = Infinity) {
  const unread = state.unread.get(thread_id);
  if (!unread || unread.seq > seen_seq) return state;
  return { ...state, unread: new Map([...state.unread].filter(([id]) => id !== thread_id)) };
}

/**
 * @param {State} state
 * @param {ListedThread} entry
 * @returns {State}
 */
function mergeListed(state, entry) {
  const { unread, last_seq = 0, seen_seq = 0 } = entry;
  const after = unread
    ? { ...state, unread: new Map(state.unread).set(entry.id, { outcome: unread, seq: last_seq }) }
    : withoutUnread(state, entry.id, seen_seq);
  return withThread(after, entry.id, (thread) => ({
    ...thread,
    title: entry.title,
    agent: entry.agent,
    updated_at: later(thread.updated_at, entry.updated_at),
    pinned: entry.pinned,
    archived: entry.archived,
    temporary: entry.temporary,
    project_id: entry.project_id,
    usage: entry.usage ?? thread.usage,
  }));
}

/**
 * @param {State} state
 * @param {string} id
 * @returns {State}
 */
function withoutThread(state, id) {
  const threads = new Map(state.threads);
  threads.delete(id);
  return {
    ...forgetInputsOf(withoutUnread(state, id), id),
    threads,
    active: new Map([...state.active].filter(([, thread_id]) => thread_id !== id)),
    unsent: state.unsent.filter((one) => one.thread_id !== id),
  };
}
