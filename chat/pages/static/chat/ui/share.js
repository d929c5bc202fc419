/** The dialog that shares a conversation: what others will see and who they are, then the link. */

import { parts, t } from "../text/strings.js";
import { copy } from "./browser.js";
import { element, found, setText } from "./element.js";

/**
 * @typedef {import("../net/api.js").Share} Share
 * @typedef {import("../net/api.js").SharePreview} SharePreview
 *
 * @typedef {object} Sharing
 * @property {() => Promise<SharePreview | null>} preview what a link would show; null: it was said why there is none
 * @property {(days: number | null) => Promise<Share | null>} make null: it was said why there is none
 */

/** How long one step of drawing the preview may take, in milliseconds. */
const STEP_MS = 25;

export class ShareDialog {
  #dialog = found("#share", HTMLDialogElement);
  #form = found("#share-form", HTMLFormElement);
  #page = found("#share-page", HTMLElement);
  #readers = found("#share-readers", HTMLElement);
  #made = found("#share-made", HTMLElement);
  #submit = found("#share-submit", HTMLButtonElement);
  /** @type {Sharing | null} */
  #sharing = null;

  constructor() {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#make();
    });
  }

  /** @param {Sharing} sharing of the conversation that is shown */
  async open(sharing) {
    this.#sharing = sharing;
    const [preview, { Writing }] = await Promise.all([sharing.preview(), import("../markdown/markdown.js")]);
    if (!preview) return;
    this.#form.hidden = false;
    this.#made.hidden = true;
    this.#submit.disabled = false;
    setText(this.#readers, t(`share.${preview.readers}`));
    const title = element("h3", { dir: "auto" }, preview.title || t("conversation"));
    this.#page.replaceChildren(title, ...preview.messages.map((message) => shown(message, new Writing())));
    this.#dialog.showModal();
    this.#page.scrollTop = 0;
  }

  async #make() {
    this.#submit.disabled = true;
    const days = Number(new FormData(this.#form).get("days"));
    const share = await this.#sharing?.make(days || null);
    this.#submit.disabled = false;
    if (!share) return this.#dialog.close();
    const field = element("input", { readonly: true, "aria-label": t("share.link"), value: share.url });
    const button = element("button", { type: "button" }, t("share.copy"));
    button.addEventListener("click", () => void copy(share.url, button));
    field.addEventListener("focus", () => field.select());
    const open = element("a", { href: share.url, target: "_blank", rel: "noopener" }, t("share.open"));
    const settings = element("a", { href: found("#account-link", HTMLAnchorElement).href }, t("settings"));
    this.#made.replaceChildren(
      element("p", { class: "link-made" }, field, button),
      element("p", { class: "dim" }, ...parts("share.made", { open, settings })),
    );
    this.#form.hidden = true;
    this.#made.hidden = false;
    button.focus();
  }
}

/**
 * @param {{role: "user" | "assistant", content: string}} message
 * @param {import("../markdown/markdown.js").Writing} writing
 */
function shown({ role, content }, writing) {
  if (role === "user") return element("div", { class: "message text", "data-role": "user", dir: "auto" }, content);
  const node = element("div", { class: "message", "data-role": "assistant" }, writing.node);
  const write = () => {
    if (!writing.write(content, true, performance.now() + STEP_MS)) setTimeout(write);
  };
  write();
  return node;
}
