/** The dialogs of projects: which one a conversation is in, and what a project is called, says and has for files. */

import { t } from "../text/strings.js";
import { gist, label } from "./attachments.js";
import { element, found, icon, setText } from "./element.js";
import { titleOf } from "./sidebar.js";
import { visible } from "./text.js";

/**
 * @typedef {import("../state/model.js").Thread} Thread
 * @typedef {import("../state/model.js").Project} Project
 * @typedef {import("../state/model.js").Attachment} Attachment
 *
 * @typedef {object} ProjectActions
 * @property {(thread: Thread, project_id: string | null) => void} place null: take it out of its project
 * @property {(id: string | null, project: import("../state/model.js").ProjectFields, first: Thread | null) => Promise<void>}
 *   keepProject null: make a new one, with this first thread in it
 * @property {(project: Project) => void} beginIn a conversation
 * @property {(file: File, progress: (share: number) => void, signal: AbortSignal) => Promise<Attachment>} upload
 * @property {(id: string) => void} removeProject its threads stay
 */

export class ProjectDialogs {
  #actions;
  #projects;
  #placing = found("#placing", HTMLDialogElement);
  #places = found("#places", HTMLElement);
  #placed = found("#placed", HTMLElement);
  #dialog = found("#project", HTMLDialogElement);
  #name = found("#project-name", HTMLInputElement);
  #instructions = found("#project-instructions", HTMLTextAreaElement);
  #title = found("#project-title", HTMLElement);
  #save = found("#project [value=yes]", HTMLButtonElement);
  #list = found("#project-files", HTMLElement);
  #attach = found("#project-attach", HTMLButtonElement);
  #note = found("#project-note", HTMLElement);
  /** @type {Attachment[]} */
  #files = [];
  #uploading = new AbortController();
  /** @type {Thread | null} */
  #thread = null;
  /** @type {string | null} */
  #id = null;

  /**
   * @param {ProjectActions} actions
   * @param {() => Project[]} projects
   */
  constructor(actions, projects) {
    this.#actions = actions;
    this.#projects = projects;
    const form = found("#placing form", HTMLFormElement);
    this.#placing.addEventListener("close", () => {
      const chosen = String(new FormData(form).get("project") ?? "");
      if (this.#placing.returnValue === "yes" && this.#thread) actions.place(this.#thread, chosen || null);
      this.#placing.returnValue = "";
    });
    found("#place-new", HTMLElement).addEventListener("click", () => {
      this.#placing.close();
      this.edit(null, this.#thread);
    });
    const input = found("#project-file", HTMLInputElement);
    input.addEventListener("change", () => {
      if (input.files) void this.#add(input.files).finally(() => (input.value = ""));
    });
    this.#attach.addEventListener("click", () => input.click());
    this.#name.addEventListener("input", () => {
      this.#name.setCustomValidity(visible(this.#name.value) ? "" : t("project.name.empty"));
    });
    this.#dialog.addEventListener("close", () => {
      const given = {
        name: this.#name.value.trim(),
        instructions: this.#instructions.value.trim(),
        attachment_ids: this.#files.map(({ id }) => id),
      };
      this.#uploading.abort();
      if (this.#dialog.returnValue === "yes") void actions.keepProject(this.#id, given, this.#id ? null : this.#thread);
      this.#dialog.returnValue = "";
    });
  }

  /** @param {FileList} files */
  async #add(files) {
    const { signal } = this.#uploading;
    this.#save.disabled = true;
    try {
      for (const file of files) {
        setText(this.#note, t("project.uploading", { name: file.name }));
        this.#files = [...this.#files, await this.#actions.upload(file, () => {}, signal)];
        this.#listFiles();
      }
      setText(this.#note, "");
    } catch (error) {
      setText(this.#note, error instanceof Error ? error.message : String(error));
    }
    this.#save.disabled = false;
  }

  #listFiles() {
    this.#list.replaceChildren(
      ...this.#files.map((file) => {
        const name = t("remove.named", { name: file.name });
        const remove = element("button", { type: "button", class: "chip-remove", "aria-label": name }, icon("close"));
        remove.addEventListener("click", () => {
          this.#files = this.#files.filter(({ id }) => id !== file.id);
          this.#listFiles();
          this.#attach.focus();
        });
        return element("li", { class: "chip" }, icon("file"), label(file.name, gist(file)), remove);
      }),
    );
  }

  /** @param {Thread} thread that goes into a project, or out of one */
  place(thread) {
    const projects = this.#projects();
    this.#thread = thread;
    if (projects.length === 0) return this.edit(null, thread);
    this.#placed.replaceChildren(element("bdi", {}, titleOf(thread)));
    const all = [{ id: "", name: t("project.none") }, ...projects];
    this.#places.replaceChildren(
      ...all.map(({ id, name }) => {
        const isChosen = id === (thread.project_id ?? "");
        const input = element("input", { type: "radio", name: "project", value: id, checked: isChosen });
        return element("label", {}, input, element("span", { dir: "auto" }, name));
      }),
    );
    this.#placing.showModal();
    /** @type {HTMLInputElement | null} */ (this.#places.querySelector(":checked"))?.focus();
  }

  /**
   * @param {Project | null} project null: a new one
   * @param {Thread | null} first of a new one
   */
  edit(project, first = null) {
    this.#id = project?.id ?? null;
    this.#thread = first;
    this.#title.textContent = project ? t("project.edit") : t("project.new");
    this.#name.value = project?.name ?? "";
    this.#name.setCustomValidity("");
    this.#instructions.value = project?.instructions ?? "";
    this.#files = project?.attachments ?? [];
    this.#uploading = new AbortController();
    this.#save.disabled = false;
    setText(this.#note, "");
    this.#listFiles();
    this.#dialog.showModal();
    this.#name.focus();
  }

  /**
   * @param {Project} project
   * @returns {import("./menu.js").Choice[]}
   */
  choices(project) {
    return [
      { label: t("project.begin"), act: () => this.#actions.beginIn(project) },
      { label: t("project.edit"), act: () => this.edit(project) },
      {
        label: t("project.delete"),
        about: t("project.delete.about"),
        danger: true,
        act: () => this.#actions.removeProject(project.id),
      },
    ];
  }
}
