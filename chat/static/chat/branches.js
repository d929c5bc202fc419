/**
 * Which of a thread's messages and answers are shown. A message that is edited and an answer that is asked for again get
 * a sibling beside them and nothing is destroyed, so that a thread is a tree: this is the one way through it. Pure.
 */

/**
 * @typedef {import("./reducer.js").Thread} Thread
 * @typedef {import("./reducer.js").Message} Message
 * @typedef {import("./reducer.js").Run} Run
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
