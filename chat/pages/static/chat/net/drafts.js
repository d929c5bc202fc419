/** What is being written in this tab beside new messages. */

import { Drafts } from "./storage.js";

/**
 * @typedef {object} AnswerDraft of an input request
 * @property {Record<string, (string | boolean)[]>} fields name to what its inputs have
 * @property {boolean} edits the parameters are being edited
 * @property {boolean} declines the reason is being written
 * @property {string} reason
 */

/** Messages that are being changed: message id to the text so far. @type {Drafts<string>} */
export const edits = new Drafts("netra.edits");

/** Answers to input requests, by the request's id. @type {Drafts<AnswerDraft>} */
export const answers = new Drafts("netra.answers");
