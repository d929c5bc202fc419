/** The form that changes a message in its place. */

import { t } from "../text/strings.js";
import { element } from "./element.js";
import { typed, visible } from "./text.js";

/**
 * Make the form.
 * @param {string} content
 * @param {(content: string) => void} send
 * @param {() => void} cancel
 * @param {(content: string) => void} [changed] called with what is written so far
 */
export function editor(content, send, cancel, changed = () => {}) {
  const field = element("textarea", { rows: "1", dir: "auto", "aria-label": t("message") });
  field.value = content;
  const back = element("button", { type: "button", class: "plain" }, t("cancel"));
  const form = element(
    "form",
    { class: "editing" },
    field,
    element("p", { class: "buttons" }, back, element("button", { type: "submit" }, t("send"))),
  );
  const fit = () => {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + 2}px`;
  };
  back.addEventListener("click", cancel);
  field.addEventListener("input", () => {
    fit();
    changed(field.value);
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      cancel();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const words = typed(field.value);
    if (visible(words)) send(words);
  });
  return {
    form,
    fit,
    begin() {
      fit();
      field.focus();
    },
  };
}
