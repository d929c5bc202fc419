/** What is done with whole conversations, and with their answers: how the server is asked for it. */

import { uuid } from "../net/uuid.js";
import { leaf } from "../state/branches.js";
import { parts, t } from "../text/strings.js";
import { save } from "./browser.js";
import { element } from "./element.js";
import { offer } from "./notices.js";
import { titleOf } from "./sidebar.js";

/**
 * @typedef {import("../state/model.js").Thread} Thread
 *
 * @typedef {object} Page
 * @property {import("../net/api.js").Api} api
 * @property {import("../state/store.js").Store} store
 * @property {import("../net/loader.js").Owner["attempt"]} attempt
 * @property {import("./removals.js").Removals} removals
 * @property {() => string | null} open the thread that is shown
 * @property {(thread_id: string | null) => void} go show this one; null: a new one
 * @property {(thread_id: string, attachments: import("../state/model.js").Attachment[]) => void} attach to its next message
 */

const DAY_SECONDS = 86_400;
/** How long archiving can be taken back where it was done, in milliseconds. */
const OFFERED_MS = 6_000;

/** @param {Page} page */
export function threadActions({ api, store, attempt, removals, open, go, attach }) {
  /**
   * @param {string} thread_id
   * @param {{title?: string, pinned?: boolean, archived?: boolean}} change
   */
  const change = (thread_id, change) =>
    attempt(async () => {
      store.dispatch({ type: "threads_listed", threads: [await api.change(thread_id, change)] });
    });

  const listProjects = async () => store.dispatch({ type: "projects_listed", projects: await api.projects() });

  /**
   * @template T
   * @param {(thread_id: string) => Promise<T>} ask
   * @returns {Promise<T | null>} null: it was said why there is no answer
   */
  const asked = async (ask) => {
    const thread_id = open();
    /** @type {T | null} */
    let answer = null;
    if (thread_id) {
      await attempt(async () => {
        answer = await ask(thread_id);
      });
    }
    return answer;
  };

  return {
    /**
     * @param {string} thread_id
     * @param {{title?: string, pinned?: boolean, archived?: boolean}} wanted
     */
    async change(thread_id, wanted) {
      await change(thread_id, wanted);
      const thread = store.thread(thread_id);
      if (!wanted.archived || !thread?.archived) return;
      // It has left the list: only a search finds it from now on.
      const title = element("bdi", {}, titleOf(thread));
      const withdraw = offer(parts("thread.archived", { title }), () => void change(thread_id, { archived: false }));
      setTimeout(withdraw, OFFERED_MS);
    },
    /**
     * @param {Thread} thread
     * @param {string | null} project_id null: take it out of its project
     */
    place(thread, project_id) {
      const [id, inside] = [project_id ?? thread.project_id, project_id !== null];
      if (!id || thread.project_id === project_id) return;
      void attempt(async () => {
        store.dispatch({ type: "threads_listed", threads: [await api.place(thread.id, id, inside)] });
      });
    },
    /**
     * @param {string | null} id null: make a new one
     * @param {import("../state/model.js").ProjectFields} project
     * @param {Thread | null} first to be put into it
     */
    async keepProject(id, project, first) {
      await attempt(async () => {
        const kept = await api.keepProject(id, project);
        await listProjects();
        if (first) this.place(first, kept.id);
      });
    },
    /**
     * Begin a conversation in a project, with its files on the first message.
     * @param {import("../state/model.js").Project} project
     */
    beginIn({ id, attachments }) {
      void attempt(async () => {
        const begun = await api.begin(uuid(), null, false);
        store.dispatch({ type: "threads_listed", threads: [await api.place(begun.id, id, true)] });
        attach(begun.id, attachments);
        go(begun.id);
      });
    },
    /** @param {string} id of a project, whose threads stay */
    removeProject(id) {
      void attempt(async () => {
        await api.removeProject(id);
        const inside = [...store.state.threads.values()].filter(({ project_id }) => project_id === id);
        store.dispatch({ type: "threads_listed", threads: inside.map((one) => ({ ...one, project_id: null })) });
        await listProjects();
      });
    },
    /** @param {string} words */
    async search(words) {
      /** @type {import("./search.js").Found} */
      const found = { threads: [], failure: "" };
      await attempt(
        async () => {
          const { threads } = await api.search(words);
          found.threads = threads.filter(({ id }) => !removals.ids.has(id));
        },
        ({ status, message }) => {
          found.failure = status === 0 ? t("search.offline") : message;
        },
      );
      return found;
    },
    /** @param {Thread} thread */
    remove(thread) {
      removals.add(thread.id, titleOf(thread));
      if (thread.id === open()) go(null);
    },
    /** @param {"md" | "json"} format */
    exportThread(format) {
      void asked(async (id) => {
        const title = store
          .thread(id)
          ?.title.replace(/[^\p{L}\p{N} ,.-]+/gu, " ")
          .trim()
          .slice(0, 60);
        save(`${title || t("thread.file")}.${format}`, await api.exported(id, format));
      });
    },
    /** @param {string} message_id from which another conversation goes on */
    branch(message_id) {
      void asked(async (id) => {
        const copied = await api.copy(id, message_id);
        store.dispatch({ type: "threads_listed", threads: [copied] });
        go(copied.id);
      });
    },
    /** @returns {import("./share.js").Sharing} of what is shown */
    sharing() {
      const last = leaf(store.thread(open())) ?? null;
      return {
        preview: () => asked((id) => api.sharePreview(id, last)),
        make: (days) => asked((id) => api.share(id, last, days && days * DAY_SECONDS)),
      };
    },
    /**
     * Check a step, or uncheck it. It is shown at once, and as it was where the server refuses.
     * @param {import("../state/model.js").CheckedStep} step
     * @param {boolean} isDone
     */
    async check(step, isDone) {
      /** @param {boolean} done */
      const show = (done) =>
        store.dispatch(done ? { type: "checklist_listed", checklist: [step] } : { type: "step_unchecked", step });
      let isKept = false;
      show(isDone);
      await attempt(async () => {
        await api.check(step, isDone);
        isKept = true;
      });
      if (!isKept) show(!isDone);
    },
    /**
     * @param {string} answer_id
     * @param {1 | -1 | null} rating null: take it back
     * @param {string} comment
     * @returns {Promise<boolean>} it is done
     */
    async rate(answer_id, rating, comment) {
      let isDone = false;
      await attempt(async () => {
        if (rating === null) {
          await api.withdrawRating(answer_id);
          store.dispatch({ type: "feedback_withdrawn", message_id: answer_id });
        } else {
          const given = await api.rate(answer_id, rating, comment);
          store.dispatch({ type: "feedback_listed", feedback: [given] });
        }
        isDone = true;
      });
      return isDone;
    },
  };
}
