/** Chips of files. */

import { element, icon } from "./element.js";
import { size } from "./text.js";

/** @typedef {import("../state/model.js").Attachment} Attachment */

/** @param {Attachment} attachment */
export const gist = ({ recognised, size: bytes }) =>
  [recognised?.usage ? FORMATS[recognised.format] : null, size(bytes)].filter(Boolean).join(" · ");

/** @type {Record<string, string>} */
const FORMATS = {
  table: "Usage data",
  openai: "OpenAI usage",
  anthropic: "Anthropic usage",
  litellm: "LiteLLM log",
  langfuse: "Langfuse export",
};

/**
 * @param {string} name
 * @param {string} about
 */
export const label = (name, about) =>
  element(
    "span",
    { class: "chip-text" },
    element("span", { class: "chip-name", dir: "auto" }, name),
    element("span", { class: "chip-about", dir: "auto" }, about),
  );

/**
 * @param {Attachment} attachment
 * @param {(attachment: Attachment) => void} look
 * @returns {HTMLElement}
 */
export function chip(attachment, look) {
  const button = element(
    "button",
    { type: "button", class: "chip", "data-attachment": attachment.id, title: "Preview" },
    icon("file"),
    label(attachment.name, gist(attachment)),
  );
  button.addEventListener("click", () => look(attachment));
  return button;
}
