/**
 * Which of a thread's messages and answers are shown. A message that is edited and an answer that is asked for again get
 * a sibling beside them and nothing is destroyed, so that a thread is a tree: this is the one way through it. Pure.
 */

/**
 * @typedef {import("./model.js").Thread} Thread
 * @typedef {import("./model.js").Message} Message
 * @typedef {import("./model.js").Run} Run
 *
 * @typedef {object} Exchange a message of the user and the run that answers it
 * @property {Message} message
 * @property {string[]} siblings the ids of this message and of those that were written in its place
 * @property {Run | null} run the one that is shown; null: none is known
 * @property {string[]} versions the ids of all runs for this message
 */

/**
 * The one that was chosen last; if none was, the newest.
 * @template {{id: string}} T
 * @param {T[]} siblings at least one
 * @param {Map<string, number>} chosen
 * @returns {T}
 */
function pick(siblings, chosen) {
  const rank = (/** @type {T} */ one) => chosen.get(one.id) ?? 0;
  return siblings.reduce((best, one) => (rank(one) >= rank(best) ? one : best));
}

/**
 * @param {Thread | undefined} thread
 * @returns {Exchange[]} from the thread's root to the message that a new one would follow
 */
export function path(thread) {
  if (!thread) return [];
  /** @type {Map<string | null, Message[]>} */
  const children = new Map();
  /** @type {Map<string, string[]>} */
  const answers = new Map();
  /** @type {Map<string, Run[]>} */
  const runs = new Map();
  for (const message of thread.messages) {
    if (message.role === "user") push(children, message.parent_id, message);
    else if (message.run_id) push(answers, message.run_id, message.id);
  }
  for (const run of thread.runs) if (run.message_id) push(runs, run.message_id, run);

  /** @type {(parents: (string | null)[]) => Message[]} a removed message is passed over: its children stand for it */
  const below = (parents) =>
    parents
      .flatMap((parent) => children.get(parent) ?? [])
      .flatMap((message) => {
        const of = runs.get(message.id) ?? [];
        return of.length > 0 && of.every((run) => run.removed) ? below([message.id]) : [message];
      });

  /** @type {Exchange[]} */
  const shown = [];
  let siblings = below([null]);
  while (siblings.length > 0) {
    const message = pick(siblings, thread.chosen);
    const versions = (runs.get(message.id) ?? []).filter((run) => !run.removed);
    const run = versions.length > 0 ? pick(versions, thread.chosen) : null;
    shown.push({ message, siblings: siblings.map(({ id }) => id), run, versions: versions.map(({ id }) => id) });
    // What was sent while this was being answered follows the message itself, all else its answer.
    siblings = below([message.id, ...(run ? (answers.get(run.id) ?? []) : [])]);
  }
  return shown;
}

/**
 * @param {Thread} thread
 * @returns {string[]} the messages and runs that are shown and have siblings, from the root on
 */
export const choices = (thread) =>
  path(thread).flatMap(({ message, siblings, run, versions }) => [
    ...(siblings.length > 1 ? [message.id] : []),
    ...(run && versions.length > 1 ? [run.id] : []),
  ]);

/**
 * @param {Thread} thread
 * @param {string} message_id
 * @returns {string[]} the ids of the messages and runs on the way from the root to this message, it included
 */
export function lineage(thread, message_id) {
  const messages = new Map(thread.messages.map((message) => [message.id, message]));
  const ids = [messages.get(message_id)?.run_id ?? message_id];
  for (let parent = messages.get(message_id)?.parent_id; parent; parent = messages.get(parent)?.parent_id) {
    ids.unshift(messages.get(parent)?.run_id ?? parent);
  }
  return ids;
}

/**
 * @param {Thread} thread
 * @param {Run} run
 * @returns {string | null} the id of its answer, once that is stored
 */
export const answerOf = (thread, run) =>
  thread.messages.find((message) => message.role === "assistant" && message.run_id === run.id)?.id ?? null;

/**
 * @param {Thread | undefined} thread
 * @returns {string | null | undefined} the message that a new one follows; null: none; undefined: not known here
 */
export function leaf(thread) {
  if (!thread?.loaded || thread.missing) return undefined;
  const last = path(thread).at(-1);
  if (!last) return null;
  return (last.run && answerOf(thread, last.run)) ?? last.message.id;
}

/**
 * @param {Thread | undefined} thread
 * @returns {boolean} whether what is shown ends where the thread's queue does: a new message belongs behind all of it,
 *   behind what is not known here yet, too
 */
export function atEnd(thread) {
  if (!thread?.loaded || thread.missing) return false;
  return path(thread).at(-1)?.run === thread.runs.findLast((run) => !run.removed);
}

/**
 * @template K, V
 * @param {Map<K, V[]>} lists
 * @param {K} key
 * @param {V} value
 */
function push(lists, key, value) {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}
