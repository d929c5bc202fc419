/** The parts of the settings about what is the user's: the address, an export, and deleting. */

import { t } from "../text/strings.js";
import { save } from "./browser.js";
import { found } from "./element.js";

/**
 * @param {object} page
 * @param {import("../net/api.js").Api} page.api
 * @param {string} page.email of the user
 * @param {(work: () => Promise<unknown>) => Promise<unknown>} page.attempt
 * @param {(selector: string, work: (data: FormData, form: HTMLFormElement) => Promise<unknown>) => void} page.onSubmit
 * @param {(message: string) => void} page.done
 * @param {() => void} page.leave to where a user signs in
 */
export function ownData({ api, email, attempt, onSubmit, done, leave }) {
  // Where only providers sign in, the address is theirs.
  if (document.querySelector("#address-form")) addressForm({ api, email, onSubmit, done });
  found("#export", HTMLElement).addEventListener("click", () => {
    void attempt(async () => save("netra.zip", await api.everything()));
  });
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-opens]"))) {
    const dialog = found(`#${button.dataset.opens}`, HTMLDialogElement);
    button.addEventListener("click", () => dialog.showModal());
    dialog.querySelector(".close")?.addEventListener("click", () => dialog.close());
  }
  onSubmit("#delete-threads-form", async () => {
    await api.removeAll();
    found("#delete-threads", HTMLDialogElement).close();
    done(t("settings.all_deleted"));
  });
  onSubmit("#delete-account-form", async (data) => {
    await api.deleteAccount(String(data.get("current") ?? ""));
    leave();
  });
}

/** @param {Pick<Parameters<typeof ownData>[0], "api" | "email" | "onSubmit" | "done">} page */
function addressForm({ api, email: first, onSubmit, done }) {
  let email = first;
  const address = found("#email", HTMLInputElement);
  const current = found("#address-current", HTMLInputElement);
  // The password is asked for once there is something to change.
  const show = () => {
    const changed = address.value.trim().toLowerCase() !== email;
    found("#address-proof", HTMLElement).hidden = !changed;
    found("#address-submit", HTMLButtonElement).disabled = !changed;
  };
  address.value = email;
  address.addEventListener("input", show);
  onSubmit("#address-form", async (data) => {
    ({ email } = await api.changeAddress(String(data.get("email")).trim(), String(data.get("current"))));
    address.value = email;
    current.value = "";
    found("#username", HTMLInputElement).value = email;
    show();
    done(t("settings.address.changed"));
  });
}
