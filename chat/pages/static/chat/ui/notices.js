/** What the page says beside the conversation: notices, offers to undo, the state of the connection, and of answers. */

import { inQueue } from "../state/model.js";
import { t } from "../text/strings.js";
import { element, found, setText } from "./element.js";

/**
 * @typedef {import("../state/model.js").Run} Run
 * @typedef {import("../state/model.js").Thread} Thread
 */

/** How long a notice stays, in milliseconds. */
const NOTICE_MS = 8_000;

/** @param {string} message of something that went wrong; shown for a while, and read out */
export function notice(message) {
  const close = element("button", { type: "button", class: "link" }, t("dismiss"));
  const shown = element("p", { class: "notice", role: "alert" }, message, " ", close);
  close.addEventListener("click", () => shown.remove());
  setTimeout(() => shown.remove(), NOTICE_MS);
  found("#notices", HTMLElement).append(shown);
}

/**
 * Say what was done, and offer to take it back.
 * @param {(Node | string)[]} message
 * @param {() => void} undo
 * @returns {() => void} takes the offer away
 */
export function offer(message, undo) {
  const button = element("button", { type: "button", class: "link" }, t("undo"));
  const toast = element("p", { class: "toast", role: "status" }, element("span", {}, ...message), button);
  button.addEventListener("click", () => {
    toast.remove();
    undo();
  });
  found("#toasts", HTMLElement).append(toast);
  return () => toast.remove();
}

/** The banner of a connection that is lost. */
export class Banner {
  #node = found("#connection", HTMLElement);
  #text = found("#connection-text", HTMLElement);

  /** @param {import("../net/socket.js").Status} status */
  update({ phase, attempt, retry_at }) {
    this.#node.hidden = !(phase === "waiting" || (phase === "connecting" && attempt > 0));
    const seconds = Math.ceil((retry_at - Date.now()) / 1000);
    const why = navigator.onLine ? t("connection.lost") : t("connection.offline");
    const next = seconds > 0 ? t("connection.retry", { seconds }) : t("connection.retrying");
    setText(this.#text, `${why} ${next}`);
  }
}

/** The status of the open thread's answers, said once to those who do not see the page. */
export class Announcer {
  #node = found("#status", HTMLElement);
  /** @type {Map<string, Run["status"]>} */
  #said = new Map();

  /** Start again, with another thread. */
  clear() {
    this.#said.clear();
  }

  /** @type {Set<string>} ids of the requests that were said */
  #asked = new Set();

  /**
   * Say a request of another thread, or of another person, once.
   * @param {{id: string, message: string}} request
   */
  ask({ id, message }) {
    if (this.#asked.has(id)) return;
    this.#asked.add(id);
    setText(this.#node, t("said.request", { message }));
  }

  /**
   * Say a new request of a run, once.
   * @param {Run} run
   * @param {boolean} isOld it was there before the thread was shown
   */
  #ask(run, isOld) {
    for (const { id, message, resolution } of run.requests) {
      if (this.#asked.has(id)) continue;
      this.#asked.add(id);
      if (!isOld && resolution === null) setText(this.#node, t("said.question", { message }));
    }
  }

  /** @param {Thread | undefined} thread */
  update(thread) {
    if (!thread?.loaded) return;
    for (const run of thread.runs) {
      const before = this.#said.get(run.id);
      this.#ask(run, before === undefined && !run.live);
      if (before === run.status) continue;
      this.#said.set(run.id, run.status);
      const waits = run.status === "queued" && run.live && thread.runs.find(inQueue) !== run;
      if (run.status === "running") setText(this.#node, t("said.running"));
      else if (waits) setText(this.#node, t("queued.behind"));
      else if (before === undefined && !run.live) continue;
      else if (run.status === "completed") setText(this.#node, t("said.completed"));
      else if (run.status === "cancelled")
        setText(this.#node, run.stopped_by ? t("said.stopped") : t("said.cancelled"));
      else if (run.status === "failed") setText(this.#node, t("said.failed"));
    }
  }
}
