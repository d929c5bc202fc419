/** The menu of a conversation, in its bar and at its row in the list, and the dialog that renames it. */

import { t } from "../text/strings.js";
import { found } from "./element.js";
import { ShareDialog } from "./share.js";
import { titleOf } from "./sidebar.js";
import { visible } from "./text.js";

/**
 * @typedef {import("../state/model.js").Thread} Thread
 * @typedef {import("./menu.js").Choice} Choice
 *
 * @typedef {object} ThreadActions
 * @property {(thread_id: string, change: {title?: string, pinned?: boolean, archived?: boolean}) => Promise<void>} change
 * @property {(thread: Thread) => void} remove
 * @property {(thread: Thread, project_id: string | null) => void} place null: take it out of its project
 * @property {(format: "md" | "json") => void} exportThread
 * @property {() => import("./share.js").Sharing} sharing of the thread that is shown
 */

export class ThreadMenu {
  #actions;
  #share = new ShareDialog();
  #renaming = found("#renaming", HTMLDialogElement);
  #title = found("#new-title", HTMLInputElement);
  #renamed = "";
  #projects;

  /**
   * @param {ThreadActions} actions
   * @param {import("./projects.js").ProjectDialogs} projects
   */
  constructor(actions, projects) {
    this.#actions = actions;
    this.#projects = projects;
    this.#renaming.addEventListener("close", () => {
      const title = this.#title.value.trim();
      if (this.#renaming.returnValue === "yes") void actions.change(this.#renamed, { title });
      this.#renaming.returnValue = "";
    });
    this.#title.addEventListener("input", () => {
      this.#title.setCustomValidity(visible(this.#title.value) ? "" : t("thread.title.empty"));
    });
  }

  /**
   * @param {Thread} thread
   * @returns {Choice[]} what can be done with it wherever it is listed
   */
  row(thread) {
    const { id, pinned, archived } = thread;
    const { change, remove } = this.#actions;
    return [
      { label: t("thread.rename"), act: () => this.rename(thread) },
      { label: pinned ? t("thread.unpin") : t("thread.pin"), act: () => void change(id, { pinned: !pinned }) },
      { label: t("thread.place"), act: () => this.#projects.place(thread) },
      {
        label: archived ? t("thread.unarchive") : t("thread.archive"),
        act: () => void change(id, { archived: !archived }),
      },
      { label: t("thread.delete"), danger: true, act: () => remove(thread) },
    ];
  }

  /**
   * @param {Thread} thread that is shown
   * @returns {Choice[]}
   */
  bar(thread) {
    const { exportThread } = this.#actions;
    const texts = [
      { label: t("thread.export.md"), act: () => exportThread("md") },
      { label: t("thread.export.json"), act: () => exportThread("json") },
      { label: t("thread.print"), act: () => print() },
    ];
    const rows = this.row(thread);
    if (thread.temporary) return [...texts, ...rows.slice(-1)];
    return [...rows.slice(0, 1), ...this.shared(t("thread.share")), ...rows.slice(1, -1), ...texts, ...rows.slice(-1)];
  }

  /**
   * @param {string} label
   * @returns {Choice[]} none where sharing is switched off
   */
  shared(label) {
    if (document.documentElement.dataset.shareLinks === "off") return [];
    return [{ label, act: () => void this.#share.open(this.#actions.sharing()) }];
  }

  /** @param {Thread} thread */
  rename(thread) {
    this.#renamed = thread.id;
    this.#title.value = titleOf(thread);
    this.#title.setCustomValidity("");
    this.#renaming.showModal();
    this.#title.select();
  }
}
