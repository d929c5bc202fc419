/** The user's accounts at MCP servers on the page of settings: list, connect, give a token, disconnect. */

import { moment, t } from "../text/strings.js";
import { element, found } from "./element.js";

/** @typedef {{server: string, auth: string, connected: boolean, scope: string, wanted: string, connected_at: string | null, used_at: string | null}} McpConnection */

/**
 * @param {McpConnection} connection
 * @param {() => void} end
 * @param {() => void} connect again, where a conversation needs more than it may
 */
function row({ server: name, scope, wanted, connected_at, used_at }, end, connect) {
  const button = element(
    "button",
    { type: "button", class: "plain", "aria-label": t("provider.disconnect.named", { name }) },
    t("provider.disconnect"),
  );
  button.addEventListener("click", end);
  const more = element("button", { type: "button", "aria-label": t("mcp.more.named", { name }) }, t("mcp.more"));
  more.addEventListener("click", connect);
  const time = moment(used_at ?? connected_at ?? 0);
  return element(
    "li",
    { "data-server": name },
    element(
      "span",
      {},
      element("strong", {}, name),
      scope ? element("span", { class: "dim" }, t("mcp.scope", { scope })) : null,
      wanted ? element("span", {}, t("mcp.wanted", { scope: wanted })) : null,
      element("span", { class: "dim" }, used_at ? t("last_used", { time }) : t("mcp.since", { time })),
    ),
    wanted ? element("span", { class: "buttons" }, more, button) : button,
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
 * @param {McpConnection} connection
 * @param {(form: HTMLFormElement, token: string) => void} save
 */
function tokenForm({ server, wanted }, save) {
  const id = `token-${server}`;
  const input = element("input", { id, name: "token", type: "password", autocomplete: "off", required: "" });
  const form = element(
    "form",
    { class: "fields" },
    element("label", { for: id }, t("mcp.token", { name: server })),
    input,
    wanted ? element("p", {}, t("mcp.wanted", { scope: wanted })) : null,
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
    const { server, auth, connected, wanted } = connection;
    const connect = () => {
      void attempt(async () => {
        const { url } = await api.mcp("POST", server);
        location.assign(url);
      });
    };
    if (connected && (auth !== "user" || !wanted)) {
      const end = () => {
        void attempt(async () => {
          await api.mcp("DELETE", server);
          await again(t("provider.disconnected", { name: server }));
        });
      };
      return row(connection, end, connect);
    }
    if (auth === "user") {
      return tokenForm(connection, (form, token) => {
        void attempt(async () => {
          await api.mcp("PUT", server, { token });
          await again(t("mcp.connected", { name: server }));
        }, form);
      });
    }
    return signIn(server, connect);
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
