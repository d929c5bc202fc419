/** Input requests of a run, as the log has them, and the answers that were given here and are not in the log yet. Pure. */

import { endThought, partOf } from "./run.js";

/**
 * @typedef {import("../net/frames.js").InputRequested} InputRequested
 * @typedef {import("../net/frames.js").InputResolved} InputResolved
 * @typedef {import("./model.js").GivenAnswer} GivenAnswer
 * @typedef {import("./model.js").Request} Request
 * @typedef {import("./model.js").Run} Run
 * @typedef {import("./model.js").State} State
 */

/**
 * Add a request, or move it to the place where a further attempt asks it again. A resolved request stays resolved.
 * @param {Run} run
 * @param {InputRequested} event
 * @returns {Run}
 */
export function addRequest(run, event) {
  const known = run.requests.find((request) => request.id === event.request_id);
  /** @type {Request} */
  const request = {
    id: event.request_id,
    key: event.seq,
    part: partOf(run, event),
    agent_name: event.agent_name,
    kind: event.kind,
    message: event.message,
    schema: event.schema,
    default: event.default,
    tool_name: event.tool_name ?? null,
    parameters: event.parameters,
    editable: event.editable === true,
    decided_by: event.decided_by,
    four_eyes: event.four_eyes,
    may_remember: event.may_remember !== false,
    expires_at: event.expires_at,
    reason: event.reason ?? null,
    resolution: known?.resolution ?? null,
  };
  const others = run.requests.filter((one) => one !== known);
  return { ...run, steps: endThought(run, event), requests: [...others, request] };
}

/**
 * @param {InputResolved} event
 * @returns {import("./model.js").Resolution}
 */
export const resolutionOf = (event) => ({
  status: event.status,
  values: event.parameters ?? event.content,
  edited: event.edited === true,
  reason: event.reason ?? null,
  by: event.resolved_by?.name ?? null,
  via: event.via,
  at: event.timestamp,
});

/**
 * Resolve a request. The first resolution in the log counts.
 * @param {Run} run
 * @param {InputResolved} event
 * @returns {Run}
 */
export function resolveRequest(run, event) {
  const resolution = resolutionOf(event);
  return {
    ...run,
    requests: run.requests.map((request) =>
      request.id === event.request_id && request.resolution === null ? { ...request, resolution } : request,
    ),
  };
}

/**
 * @param {Run} run
 * @returns {boolean} a person can still answer one of its requests
 */
export const asks = (run) => run.requests.some(({ resolution }) => resolution === null);

/**
 * Keep the answer that was given here, until the log has the resolution.
 * @param {State} state
 * @param {GivenAnswer} answer
 * @returns {State}
 */
export const giveAnswer = (state, answer) => ({
  ...state,
  answers: new Map(state.answers).set(answer.request_id, { ...answer, refused: null }),
});

/**
 * Mark an answer as refused.
 * @param {State} state
 * @param {string} request_id
 * @param {{field: string | null, message: string}} refused
 * @returns {State}
 */
export function refuseAnswer(state, request_id, refused) {
  const answer = state.answers.get(request_id);
  return answer ? { ...state, answers: new Map(state.answers).set(request_id, { ...answer, refused }) } : state;
}

/**
 * Forget the answer to a request, which is resolved.
 * @param {State} state
 * @param {string} request_id
 * @returns {State}
 */
export function settleAnswer(state, request_id) {
  if (!state.answers.has(request_id)) return state;
  const answers = new Map(state.answers);
  answers.delete(request_id);
  return { ...state, answers };
}
