/** The user's accounts at MCP servers on the page of settings: list, connect, give a token, disconnect. */

import { moment, t } from "../text/strings.js";
import { element, found } from "./element.js";

/** @typedef {{server: string, auth: string, connected: boolean, scope: string, connected_at: string | null, used_at: string | null}} McpConnection */

/**
 * @param {McpConnection} connection
 * @param {() => void} end
 */
function row({ server: name, scope, connected_at, used_at }, end) {
  const button = element(
    "button",
    { type: "button", class: "plain", "aria-label": t("provider.disconnect.named", { name }) },
    t("provider.disconnect"),
  );
  button.addEventListener("click", end);
  const time = moment(used_at ?? connected_at ?? 0);
  return element(
    "li",
    { "data-server": name },
    element(
      "span",
      {},
      element("strong", {}, name),
      scope ? element("span", { class: "dim" }, t("mcp.scope", { scope })) : null,
      element("span", { class: "dim" }, used_at ? t("last_used", { time }) : t("mcp.since", { time })),
    ),
    button,
  );
}

/**
 * @param {string} server
 * @param {() => void} connect
 */
function signIn(server, connect) {
  const button = element(
    "button",
    { type: "button", "aria-label": t("mcp.connect.named", { name: server }) },
    t("mcp.connect"),
  );
  button.addEventListener("click", connect);
  const words = element("span", {}, element("strong", {}, server), element("span", { class: "dim" }, t("mcp.none")));
  return element("li", { "data-server": server }, words, button);
}

/**
 * @param {string} server
 * @param {(form: HTMLFormElement, token: string) => void} save
 */
function tokenForm(server, save) {
  const id = `token-${server}`;
  const input = element("input", { id, name: "token", type: "password", autocomplete: "off", required: "" });
  const form = element(
    "form",
    { class: "fields" },
    element("label", { for: id }, t("mcp.token", { name: server })),
    input,
    element("p", { class: "buttons" }, element("button", { type: "submit" }, t("mcp.save"))),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    for (const notice of form.querySelectorAll(".notice")) notice.remove();
    save(
      /** @type {HTMLFormElement} */ (form),
      String(new FormData(/** @type {HTMLFormElement} */ (form)).get("token")),
    );
  });
  return element("li", { "data-server": server }, form);
}

/**
 * Show the servers, where any are configured at which each user has an account. The callbacks are those of the page.
 * @param {import("../net/api.js").Api} api
 * @param {(work: () => Promise<unknown>, form?: HTMLFormElement) => Promise<unknown>} attempt
 * @param {(message: string) => void} done
 */
export async function showMcpConnections(api, attempt, done) {
  const list = document.querySelector("#mcp-connections");
  if (!(list instanceof HTMLElement)) return;
  const again = async (/** @type {string} */ message) => {
    await showMcpConnections(api, attempt, done);
    list.tabIndex = -1;
    list.focus();
    done(message);
  };
  /** @type {{connections: McpConnection[]}} */
  const { connections } = await api.mcp("GET");
  const rows = connections.map((connection) => {
    const { server, auth, connected } = connection;
    if (connected) {
      return row(connection, () => {
        void attempt(async () => {
          await api.mcp("DELETE", server);
          await again(t("provider.disconnected", { name: server }));
        });
      });
    }
    if (auth === "user") {
      return tokenForm(server, (form, token) => {
        void attempt(async () => {
          await api.mcp("PUT", server, { token });
          await again(t("mcp.connected", { name: server }));
        }, form);
      });
    }
    return signIn(server, () => {
      void attempt(async () => {
        const { url } = await api.mcp("POST", server);
        location.assign(url);
      });
    });
  });
  list.replaceChildren(...rows);
  const query = new URLSearchParams(location.search);
  const linked = query.get("linked");
  const wanted = query.get("connect");
  if (linked !== null) {
    done(t("mcp.linked", { name: linked }));
    history.replaceState(null, "", location.pathname);
  }
  if (wanted !== null) {
    const chosen = rows.find((one) => one.dataset.server === wanted);
    /** @type {HTMLElement | null | undefined} */ (chosen?.querySelector("button,input"))?.focus();
    found("#mcp-title", HTMLElement).scrollIntoView();
  }
}
