/** A thread after one event of its log. Pure. */

import { newRun, unfinished, withMessage, withRun } from "./model.js";
import { addRequest, resolveRequest } from "./requests.js";
import { addText, addThought, endThought, partOf, startPart, withToolCall } from "./run.js";

/**
 * @typedef {import("../net/frames.js").NumberedEvent} NumberedEvent
 * @typedef {import("./model.js").Message} Message
 * @typedef {import("./model.js").Thread} Thread
 */

/**
 * Apply the thread's next event, whose number is taken already.
 * @param {Thread} thread
 * @param {NumberedEvent} event
 * @returns {Thread}
 */
export function applyEvent(thread, event) {
  switch (event.type) {
    case "message_created":
      return withRun(
        withMessage(thread, {
          id: event.message_id,
          role: event.role,
          content: event.content,
          run_id: null,
          parent_id: event.parent_id,
          attachments: event.attachments,
        }),
        event,
        (run) => ({ ...run, message_id: event.message_id }),
      );
    case "agent_started":
      return withRun(thread, event, (run) => startPart(run, event));
    case "agent_thinking":
      return withRun(thread, event, (run) => addThought(run, event));
    case "agent_delta":
      return withRun(thread, event, (run) => ({
        // A run that is complete by its message is replayed from somewhere in its middle: its text is known.
        ...(unfinished(run) ? addText(run, event.delta) : run),
        steps: endThought(run, event),
      }));
    case "tool_executing":
    case "tool_completed":
      return withRun(thread, event, (run) => ({
        ...run,
        steps: withToolCall({ ...run, steps: endThought(run, event) }, event),
      }));
    case "subagent_completed":
      return withRun(thread, event, (run) => {
        const key = partOf(run, event);
        const { summary, duration_ms } = event;
        return {
          ...run,
          steps: endThought(run, event),
          parts: run.parts.map((part) => (part.key === key ? { ...part, done: true, summary, duration_ms } : part)),
        };
      });
    case "input_requested":
      return withRun(thread, event, (run) => addRequest(run, event));
    case "input_resolved":
      return withRun(thread, event, (run) => resolveRequest(run, event));
    case "run_waiting":
      return withRun(thread, event, (run) => ({
        ...run,
        status: "waiting",
        waiting_since: event.timestamp,
        thinking: [],
      }));
    case "run_resumed":
      return withRun(thread, event, (run) => ({
        ...run,
        status: "running",
        waiting_since: null,
        waited_ms: run.waited_ms + event.waited_ms,
      }));
    case "run_restarted":
      return withRun(thread, event, (run) => ({
        ...run,
        attempt: event.attempt,
        restarted: event.reason,
        text: "",
        logged: 0,
        parts: [],
        steps: [],
        thinking: [],
      }));
    case "agent_completed":
      return endRun(thread, event, "completed", event.final_response);
    case "agent_failed":
      return endRun(thread, event, "failed", null);
    case "agent_cancelled":
      return endRun(thread, event, "cancelled", null);
    default:
      return thread;
  }
}

/**
 * @param {import("./model.js").Run} run
 * @param {number} at the server's time in milliseconds
 * @returns {number} how long it has waited for persons
 */
export const waited = (run, at) =>
  run.waited_ms + (run.waiting_since === null ? 0 : Math.max(0, at - Date.parse(run.waiting_since)));

/**
 * End the event's run, and add its answer's message.
 * @param {Thread} thread
 * @param {import("../net/frames.js").AgentCompleted | import("../net/frames.js").AgentFailed
 *   | import("../net/frames.js").AgentCancelled} event
 * @param {"completed" | "failed" | "cancelled"} status
 * @param {string | null} final the whole answer; null: what was said so far is all there is
 * @returns {Thread}
 */
function endRun(thread, event, status, final) {
  const first = thread.runs.find(unfinished);
  const at = Date.parse(event.timestamp);
  const next = withRun(thread, event, (run) => ({
    ...run,
    status,
    removed: status === "cancelled" && run.attempt === 0 && first !== undefined && first.id !== run.id,
    stopping: false,
    waiting_since: null,
    waited_ms: waited(run, at),
    text: final ?? run.text.slice(0, unfinished(run) ? run.logged : undefined),
    result: event.type === "agent_completed" ? (event.result ?? null) : null,
    usage: event.type === "agent_completed" ? event.usage : null,
    stopped_by: (event.type === "agent_cancelled" && event.stopped_by) || null,
    error: event.type === "agent_failed" ? event.message : null,
    duration_ms:
      event.type === "agent_completed" && run.waited_ms === 0
        ? event.duration_ms
        : run.started_at
          ? Math.max(0, at - Date.parse(run.started_at) - waited(run, at))
          : null,
    parts: run.parts.map((part) => ({ ...part, done: true })),
    thinking: [],
    steps: endThought(run, event).map((step) =>
      step.kind === "tool" && step.status === "running" ? { ...step, status: "interrupted" } : step,
    ),
  }));
  const run = next.runs.find((one) => one.id === event.run_id);
  return event.type !== "agent_failed" && event.message_id
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
 * Replace a thread whose log no longer reaches back to where this page is by its messages. The rest of the log, with the
 * runs at work, is applied afterwards.
 * @param {Thread} thread
 * @param {number} first the seq that the log begins with
 * @param {Message[]} read oldest first
 * @returns {Thread}
 */
export function loadMessages(thread, first, read) {
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
