/** Keys of an input method, the clipboard, and files to save. */

import { t } from "../text/strings.js";
import { element } from "./element.js";

/**
 * Leave the keys that an input method takes, such as Enter and Escape in a composition, to it alone. Safari reports the
 * key that ends a composition after its end: only the old key code shows that the input method took it.
 */
export function leaveKeysToInputMethod() {
  addEventListener(
    "keydown",
    (event) => {
      if (!event.isComposing && event.keyCode !== INPUT_METHOD) return;
      event.stopImmediatePropagation();
      // Neither does the browser send a form or close a dialog for it.
      if (!event.isComposing && (event.key === "Enter" || event.key === "Escape")) event.preventDefault();
    },
    { capture: true },
  );
}

/** The key code of a key that an input method has taken. */
const INPUT_METHOD = 229;

/**
 * Put text onto the clipboard, and say so on the button that was pressed.
 * @param {string} text
 * @param {HTMLElement} button
 */
export async function copy(text, button) {
  const isCopied = await navigator.clipboard?.writeText(text).then(
    () => true,
    () => false,
  );
  tell(button, isCopied ? t("copied") : t("copy.refused"));
}

/**
 * Say on a button for a while what came of it.
 * @param {HTMLElement} button
 * @param {string} words
 */
export function tell(button, words) {
  if ("told" in button.dataset) return;
  const before = [...button.childNodes];
  button.dataset.told = "";
  button.replaceChildren(words);
  setTimeout(() => {
    button.replaceChildren(...before);
    delete button.dataset.told;
  }, 1_500);
}

/**
 * Give the browser a file to save.
 * @param {string} name
 * @param {Blob} content
 */
export function save(name, content) {
  const address = URL.createObjectURL(content);
  const link = element("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
