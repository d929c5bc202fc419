/** Chips of files. */

import { t } from "../text/strings.js";
import { element, icon } from "./element.js";
import { size } from "./text.js";

/** @typedef {import("../state/model.js").Attachment} Attachment */

/** @param {Attachment} attachment */
export const gist = ({ recognised, size: bytes }) =>
  [recognised?.usage && formatOf(recognised.format), size(bytes)].filter(Boolean).join(" · ");

/** @type {Record<string, import("../text/strings.js").Key>} */
const FORMATS = {
  table: "format.table",
  openai: "format.openai",
  anthropic: "format.anthropic",
  litellm: "format.litellm",
  langfuse: "format.langfuse",
};

/** @param {string} format */
const formatOf = (format) => (format in FORMATS ? t(FORMATS[format]) : null);

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
 * @typedef {object} FileActions
 * @property {(attachment: Attachment) => void} look
 * @property {(attachment: Attachment) => Promise<string | null>} picture the address of a small one; null: it has none
 */

/** @param {Attachment} attachment */
export const isPicture = ({ media_type }) => media_type.startsWith("image/");

/**
 * @param {Attachment} attachment
 * @param {FileActions} actions
 * @returns {HTMLElement}
 */
export function chip(attachment, { look, picture }) {
  const button = element(
    "button",
    { type: "button", class: "chip", "data-attachment": attachment.id, title: t("preview") },
    icon("file"),
    label(attachment.name, gist(attachment)),
  );
  if (isPicture(attachment)) {
    void picture(attachment).then((address) => {
      if (address) button.firstElementChild?.replaceWith(element("img", { class: "thumbnail", src: address, alt: "" }));
    });
  }
  button.addEventListener("click", () => look(attachment));
  return button;
}
