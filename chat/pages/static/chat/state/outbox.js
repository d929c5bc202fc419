/** Messages and further answers that are asked for and not in the log yet, from writing to their event. Pure. */

import { lineage } from "./branches.js";
import { choose, withRun, withThread } from "./model.js";

/**
 * @typedef {import("../net/frames.js").MessageAccepted} MessageAccepted
 * @typedef {import("./model.js").State} State
 * @typedef {import("./model.js").Unsent} Unsent
 */

/** The error codes after which an unsent message is sent again by itself. */
export const SENT_AGAIN = new Set(["rate_limited", "unavailable"]);

/**
 * @param {State} state
 * @param {string} client_msg_id
 * @param {Partial<Unsent>} change
 * @returns {State}
 */
export const withUnsent = (state, client_msg_id, change) => ({
  ...state,
  unsent: state.unsent.map((one) => (one.client_msg_id === client_msg_id ? { ...one, ...change } : one)),
});

/**
 * Remove a message that is in the log by now from the unsent ones.
 * @param {State} state
 * @param {string} client_msg_id
 * @param {string} message_id
 * @returns {State}
 */
export function settleMessage(state, client_msg_id, message_id) {
  const unsent = state.unsent.find((one) => one.client_msg_id === client_msg_id);
  if (!unsent) return state;
  return withThread(
    {
      ...state,
      unsent: state.unsent.filter((one) => one !== unsent).map((one) => reparent(one, client_msg_id, message_id)),
    },
    unsent.thread_id,
    (thread) => ({
      ...lineage(thread, message_id).reduce(choose, thread),
      // It was written here, so that its answer is news even while the log is still read.
      runs: thread.runs.map((run) => (run.message_id === message_id ? { ...run, live: true } : run)),
    }),
  );
}

/**
 * @param {Unsent} one
 * @param {string} client_msg_id
 * @param {string} message_id what it is stored as
 * @returns {Unsent} with the message it follows, where it was that one
 */
const reparent = (one, client_msg_id, message_id) =>
  one.follows === client_msg_id ? { ...one, follows: null, ...(one.at_end ? {} : { parent_id: message_id }) } : one;

/**
 * Give up an unsent message; what followed it follows what it followed.
 * @param {State} state
 * @param {string} client_msg_id
 * @returns {State}
 */
export function discardMessage(state, client_msg_id) {
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
 * Apply a `message_accepted`.
 * @param {State} state
 * @param {MessageAccepted} frame
 * @returns {State}
 */
export function acceptMessage(state, frame) {
  const { client_msg_id } = frame;
  const unsent = state.unsent.find((one) => one.client_msg_id === client_msg_id);
  if (!client_msg_id || !unsent) return state;
  if (unsent.regenerates) {
    // A further answer has no event before it starts.
    const run = { run_id: frame.run_id, agent_name: unsent.agent };
    return withThread(discardMessage(state, client_msg_id), frame.thread_id, (thread) =>
      choose(
        withRun(thread, run, (one) => ({ ...one, message_id: frame.message_id })),
        frame.run_id,
      ),
    );
  }
  const thread = state.threads.get(frame.thread_id);
  if (thread && thread.last >= frame.seq) return settleMessage(state, client_msg_id, frame.message_id);
  const next = withUnsent(state, client_msg_id, {
    status: "accepted",
    message_id: frame.message_id,
    error: null,
  });
  return {
    ...next,
    unsent: next.unsent.map((one) => reparent(one, client_msg_id, frame.message_id)),
  };
}
