/** The resources of the REST API. */

import { BASE } from "./base.js";
import { ApiError, parsed, unreachable } from "./http.js";

/**
 * @typedef {{id: string, email: string, name: string}} User
 * @typedef {{name: string, title?: string, description: string, starters?: string[], available: boolean,
 *   reason?: string}} Agent
 * @typedef {{id: string, current: boolean, user_agent: string, created_at: string, used_at: string}} SignIn
 * @typedef {{id: string, thread_id: string, tool_name: string, expires_at: string}} Grant
 * @typedef {{id: string, name: string, prefix: string, scopes: string[], agents: string[], last_used_at: string | null,
 *   expires_at: string | null}} ApiKey
 * @typedef {{id: number, provider: string, name: string, email: string, connected_at: string, used_at: string}} Connection
 * @typedef {{id: string, url: string, title: string, created_at: string, expires_at: string | null}} Share
 * @typedef {{title: string, readers: "members" | "anyone",
 *   messages: {role: "user" | "assistant", content: string}[]}} SharePreview
 * @typedef {import("../state/model.js").ListedThread} ListedThread
 * @typedef {import("../state/model.js").Project} Project
 */

export class Api {
  #session;

  /** @param {import("./session.js").Session} session */
  constructor(session) {
    this.#session = session;
  }

  /** @returns {Promise<User>} */
  me() {
    return this.#session.call("GET", "/auth/me");
  }

  /**
   * @param {number} page from 1
   * @returns {Promise<{threads: ListedThread[], has_more: boolean}>}
   */
  threads(page) {
    return this.#session.call("GET", `/api/threads?page=${page}&page_size=100`);
  }

  /**
   * @param {number} page from 1
   * @returns {Promise<{threads: ListedThread[], has_more: boolean}>}
   */
  archived(page) {
    return this.#session.call("GET", `/api/threads?archived=true&page=${page}&page_size=20`);
  }

  /** @returns {Promise<ListedThread[]>} */
  pinned() {
    return this.#session.all("threads", "/api/threads", { pinned: "true" });
  }

  /** @returns {Promise<ListedThread[]>} the threads that are in projects */
  inProjects() {
    return this.#session.all("threads", "/api/threads", { project: "any" });
  }

  /** @returns {Promise<Project[]>} by name */
  projects() {
    return this.#session.all("projects", "/api/projects");
  }

  /**
   * @param {string | null} id null: make a new one
   * @param {import("../state/model.js").ProjectFields} project
   * @returns {Promise<Project>}
   */
  keepProject(id, project) {
    return this.#session.call(id ? "PATCH" : "POST", `/api/projects${id ? `/${id}` : ""}`, project);
  }

  /** @param {string} id */
  removeProject(id) {
    return this.#session.call("DELETE", `/api/projects/${id}`);
  }

  /**
   * @param {string} thread_id
   * @param {string} project_id
   * @param {boolean} inside false: take it out
   * @returns {Promise<ListedThread>}
   */
  place(thread_id, project_id, inside) {
    return this.#session.call(inside ? "PUT" : "DELETE", `/api/projects/${project_id}/threads/${thread_id}`);
  }

  /**
   * @param {string} id
   * @param {string | null} agent
   * @param {boolean} temporary in no list
   * @returns {Promise<ListedThread>}
   */
  begin(id, agent, temporary) {
    return this.#session.call("POST", "/api/threads", { id, ...(agent && { agent }), temporary });
  }

  /**
   * @param {string} words looked for in titles and messages
   * @returns {Promise<{threads: ListedThread[]}>}
   */
  search(words) {
    return this.#session.call("GET", `/api/threads?page_size=20&q=${encodeURIComponent(words)}`);
  }

  /**
   * @param {string} id
   * @returns {Promise<ListedThread>}
   */
  thread(id) {
    return this.#session.call("GET", `/api/threads/${id}`);
  }

  /**
   * @param {string} id
   * @param {number} after
   * @returns {Promise<{events: import("./frames.js").NumberedEvent[], head: number, more: boolean}>}
   */
  events(id, after) {
    return this.#session.call("GET", `/api/threads/${id}/events?after=${after}`);
  }

  /**
   * @param {string} id
   * @returns {Promise<import("../state/model.js").Message[]>} all of the thread's messages, oldest first
   */
  messages(id) {
    return this.#session.all("messages", `/api/threads/${id}/messages`);
  }

  /**
   * @param {string} id
   * @returns {Promise<import("../state/model.js").Feedback[]>} the ratings of a thread's answers
   */
  feedback(id) {
    return this.#session.all("feedback", `/api/threads/${id}/feedback`);
  }

  /**
   * @param {string} answer_id
   * @param {1 | -1} rating
   * @param {string} comment
   * @returns {Promise<import("../state/model.js").Feedback>}
   */
  rate(answer_id, rating, comment) {
    return this.#session.call("PUT", `/api/messages/${answer_id}/feedback`, { rating, comment });
  }

  /** @param {string} answer_id */
  withdrawRating(answer_id) {
    return this.#session.call("DELETE", `/api/messages/${answer_id}/feedback`);
  }

  /**
   * @param {string} id
   * @returns {Promise<import("../state/model.js").CheckedStep[]>} the steps of a thread's answers that are done
   */
  checklist(id) {
    return this.#session.all("checklist", `/api/threads/${id}/checklist`);
  }

  /**
   * @param {import("../state/model.js").CheckedStep} step
   * @param {boolean} isDone
   */
  check({ message_id, name }, isDone) {
    return this.#session.call(isDone ? "PUT" : "DELETE", `/api/messages/${message_id}/checklist/${name}`);
  }

  /**
   * @param {string} id
   * @param {{title?: string, pinned?: boolean, archived?: boolean, seen_seq?: number}} change
   * @returns {Promise<ListedThread>}
   */
  change(id, change) {
    return this.#session.call("PATCH", `/api/threads/${id}`, change);
  }

  /**
   * @param {string} id
   * @param {string} message_id the last message of the copy
   * @returns {Promise<ListedThread>} the copy
   */
  copy(id, message_id) {
    return this.#session.call("POST", `/api/threads/${id}/copy`, { message_id });
  }

  /** @param {string} id */
  remove(id) {
    return this.#session.call("DELETE", `/api/threads/${id}`);
  }

  /**
   * For a page that is about to be gone: the request outlives the page, and its answer is not read.
   * @param {string} id
   */
  removeAtOnce(id) {
    this.#session.sendAtOnce("DELETE", `/api/threads/${id}`);
  }

  /**
   * @param {string} id of a thread
   * @param {string | null} message_id the last message; null: the newest
   * @returns {Promise<SharePreview>} what a link would show
   */
  sharePreview(id, message_id) {
    return this.#session.call("GET", `/api/threads/${id}/share${message_id ? `?message_id=${message_id}` : ""}`);
  }

  /**
   * @param {string} id of a thread
   * @param {string | null} message_id the last message; null: the newest
   * @param {number | null} expires_in seconds; null: never
   * @returns {Promise<Share>}
   */
  share(id, message_id, expires_in) {
    return this.#session.call("POST", `/api/threads/${id}/share`, { message_id, expires_in });
  }

  /** @returns {Promise<Share[]>} the links that work */
  shares() {
    return this.#session.all("shares", "/api/shares");
  }

  /** @param {string} id */
  revokeShare(id) {
    return this.#session.call("DELETE", `/api/shares/${id}`);
  }

  /**
   * @param {string} id
   * @param {"md" | "json"} format
   * @returns {Promise<Blob>}
   */
  exported(id, format) {
    return this.#session.read(`/api/threads/${id}/export?format=${format}`);
  }

  /**
   * @param {string} id of an attachment
   * @returns {Promise<Blob>}
   */
  content(id) {
    return this.#session.read(`/api/attachments/${id}/content`);
  }

  /**
   * @param {"owner" | "approver"} role
   * @returns {Promise<Record<string, any>[]>} all open input requests of the user's runs, or of others to decide
   */
  inputs(role) {
    return this.#session.all("inputs", "/api/inputs", { role });
  }

  /**
   * @param {string} id
   * @returns {Promise<Record<string, any> | null>} null: there is none any more
   */
  async input(id) {
    try {
      return await this.#session.call("GET", `/api/inputs/${id}`);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return null;
      throw error;
    }
  }

  /**
   * @param {string} [thread_id] absent: of all threads
   * @returns {Promise<Grant[]>} the tools that need no approval there
   */
  grants(thread_id) {
    return this.#session.all("grants", "/api/grants", thread_id ? { thread_id } : {});
  }

  /** @param {string} id */
  revoke(id) {
    return this.#session.call("DELETE", `/api/grants/${id}`);
  }

  /** @returns {Promise<{agents: Agent[]}>} */
  agents() {
    return this.#session.call("GET", "/api/agents");
  }

  /**
   * @param {File} file
   * @param {(share: number) => void} progress from 0 to 1
   * @param {AbortSignal} signal
   * @returns {Promise<import("../state/model.js").Attachment>}
   */
  upload(file, progress, signal) {
    const body = new FormData();
    body.append("file", file);
    return this.#session.authorised(
      (token) =>
        new Promise((resolve, reject) => {
          // fetch does not tell how much has been sent.
          const request = new XMLHttpRequest();
          request.open("POST", `${BASE}/api/attachments`);
          request.setRequestHeader("Authorization", `Bearer ${token}`);
          request.upload.onprogress = ({ loaded, total }) => progress(total ? loaded / total : 0);
          request.onload = () => {
            const answer = parsed(request.responseText);
            if (request.status === 201) resolve(answer);
            else reject(new ApiError(request.status, answer ?? {}));
          };
          request.onerror = () => reject(unreachable());
          signal.addEventListener("abort", () => request.abort());
          request.send(body);
        }),
    );
  }

  /** @param {string} name @returns {Promise<User>} */
  renameMe(name) {
    return this.#session.call("PATCH", "/auth/me", { name });
  }

  /** @returns {Promise<{instructions: string}>} */
  instructions() {
    return this.#session.call("GET", "/auth/instructions");
  }

  /** @param {string} instructions */
  changeInstructions(instructions) {
    return this.#session.call("PATCH", "/auth/instructions", { instructions });
  }

  /**
   * @param {string} email
   * @param {string} current password; empty if the account has none
   * @returns {Promise<User>}
   */
  changeAddress(email, current) {
    return this.#session.call("POST", "/auth/email", current ? { email, current } : { email });
  }

  /** @returns {Promise<Blob>} a zip of all that is the user's */
  everything() {
    return this.#session.read("/auth/export");
  }

  /** @param {string} current password; empty if the account has none */
  deleteAccount(current) {
    return this.#session.call("POST", "/auth/delete", current ? { current } : {});
  }

  removeAll() {
    return this.#session.call("DELETE", "/api/threads");
  }

  /** @returns {Promise<{language: string}>} empty: the browser's */
  language() {
    return this.#session.call("GET", "/auth/language");
  }

  /** @param {string} language as `language` returns it */
  changeLanguage(language) {
    return this.#session.call("PATCH", "/auth/language", { language });
  }

  /** @returns {Promise<{input_mail: string}>} */
  notifications() {
    return this.#session.call("GET", "/auth/notifications");
  }

  /** @param {{input_mail: string}} chosen */
  changeNotifications(chosen) {
    return this.#session.call("PATCH", "/auth/notifications", chosen);
  }

  /**
   * Every other session ends, and with the old password the old tokens.
   * @param {string} current
   * @param {string} fresh
   */
  async changePassword(current, fresh) {
    this.#session.keep(await this.#session.call("POST", "/auth/password", { current, new: fresh }));
  }

  /** @returns {Promise<{sessions: SignIn[]}>} */
  sessions() {
    return this.#session.call("GET", "/auth/sessions?page_size=100");
  }

  /** @returns {Promise<{keys: ApiKey[]}>} */
  keys() {
    return this.#session.call("GET", "/auth/keys?page_size=100");
  }

  /**
   * @param {{name: string, scopes: string[], expires_in: number | null}} wanted
   * @returns {Promise<ApiKey & {key: string}>}
   */
  makeKey(wanted) {
    return this.#session.call("POST", "/auth/keys", wanted);
  }

  /** @param {string} id */
  revokeKey(id) {
    return this.#session.call("DELETE", `/auth/keys/${id}`);
  }

  /** @returns {Promise<{accounts: Connection[], password: boolean}>} the user's connections with providers */
  connections() {
    return this.#session.call("GET", "/auth/sso/accounts");
  }

  /**
   * @param {string} provider
   * @param {string} current the password; empty if the account has none
   * @returns {Promise<{url: string}>} where the browser goes to connect
   */
  connect(provider, current) {
    return this.#session.call("POST", `/auth/sso/${provider}/connect`, current ? { current } : {});
  }

  /**
   * @param {number} id
   * @param {string} current
   */
  disconnect(id, current) {
    return this.#session.call("DELETE", `/auth/sso/accounts/${id}`, current ? { current } : {});
  }

  /** Call the user's connections with MCP servers, or the one with `server`.
   * @param {"GET" | "POST" | "PUT" | "DELETE"} method
   * @param {string} [server]
   * @param {{token: string}} [token]
   */
  mcp(method, server, token) {
    return this.#session.call(method, `/auth/mcp/connections${server ? `/${server}` : ""}`, token);
  }

  /** @param {string} id */
  endSession(id) {
    return this.#session.call("DELETE", `/auth/sessions/${id}`);
  }
}
