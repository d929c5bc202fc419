/** Input requests of all threads, and those of others that the user may decide, as the server lists them. Pure. */

import { resolutionOf, settleAnswer } from "./requests.js";

/**
 * @typedef {import("../net/frames.js").InputResolved} InputResolved
 * @typedef {import("./model.js").Input} Input
 * @typedef {import("./model.js").State} State
 */

/**
 * @param {Record<string, any>} row of `/api/inputs`
 * @param {boolean} own its run is the user's
 * @returns {Input}
 */
export function inputOf(row, own) {
  const { id, kind, status, message, schema, tool_name, parameters, editable, reason, agent_name } = row;
  return {
    id,
    key: 0,
    part: 0,
    kind,
    message,
    schema,
    tool_name,
    parameters,
    editable,
    reason,
    agent_name,
    default: row.default ?? undefined,
    decided_by: row.decided_by,
    four_eyes: row.four_eyes,
    may_remember: row.may_remember,
    expires_at: row.expires_at,
    thread_id: row.thread_id,
    created_at: row.created_at,
    own,
    resolution:
      status === "open"
        ? null
        : {
            status,
            values: kind === "approval" ? (row.edited_parameters ?? parameters) : row.content,
            edited: row.edited,
            reason: row.comment,
            by: row.resolved_by?.name ?? null,
            via: row.via ?? "",
            at: row.resolved_at,
          },
  };
}

/**
 * Take the list of all that are open, and of those that are not any more. What was resolved before stays so.
 * @param {State} state
 * @param {Input[]} listed
 * @returns {State}
 */
export function listInputs(state, listed) {
  const resolved = [...state.inputs.values()].filter(({ resolution }) => resolution !== null);
  const inputs = new Map([...listed, ...resolved].map((input) => [input.id, input]));
  const over = listed.filter(({ resolution }) => resolution !== null);
  return over.reduce((next, { id }) => settleAnswer(next, id), { ...state, inputs });
}

/**
 * @param {State} state
 * @param {InputResolved} event
 * @returns {State}
 */
export function resolveInput(state, event) {
  const input = state.inputs.get(event.request_id);
  if (!input || input.resolution) return state;
  return { ...state, inputs: new Map(state.inputs).set(input.id, { ...input, resolution: resolutionOf(event) }) };
}

/**
 * @param {State} state
 * @param {(input: Input) => boolean} keeps
 * @returns {State}
 */
const filterInputs = (state, keeps) => ({
  ...state,
  inputs: new Map([...state.inputs].filter(([, input]) => keeps(input))),
});

/**
 * Forget the requests that are resolved.
 * @param {State} state
 * @returns {State}
 */
export const forgetResolved = (state) => filterInputs(state, ({ resolution }) => resolution === null);

/**
 * Forget the requests of a thread, which is deleted.
 * @param {State} state
 * @param {string} thread_id
 * @returns {State}
 */
export const forgetInputsOf = (state, thread_id) => filterInputs(state, (input) => input.thread_id !== thread_id);

/**
 * @param {Pick<Input, "own" | "four_eyes" | "decided_by">} input
 * @returns {boolean} it waits for the user, and not for somebody else who decides what the user's run asks
 */
export const isMine = ({ own, four_eyes, decided_by }) => !own || (!four_eyes && decided_by === "owner");

/**
 * @param {State} state
 * @returns {Input[]} the open requests that wait for the user, the one that expires first at the start
 */
export const waitingInputs = (state) =>
  [...state.inputs.values()]
    .filter((input) => input.resolution === null && isMine(input))
    .sort((a, b) => Date.parse(a.expires_at) - Date.parse(b.expires_at));
