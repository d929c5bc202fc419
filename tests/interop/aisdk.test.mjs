// AI SDK's own client, unchanged, against a running site. tests/e2e/test_aisdk.py starts it.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Chat } from "@ai-sdk/react";
import {
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  lastAssistantMessageIsCompleteWithToolCalls,
  WebSocketChatTransport,
} from "ai";

const { NETRA_URL, NETRA_ALICE, NETRA_BOB, NETRA_READ_KEY } = process.env;
const api = `${NETRA_URL}/api/chat`;
const as = (token) => ({ Authorization: `Bearer ${token}` });
const folder = mkdtempSync(join(tmpdir(), "aisdk-"));
const sockets = [];

function http(token, body = { agent: "echo" }) {
  return new DefaultChatTransport({ api, headers: as(token), body });
}

function socket(token, body = { agent: "echo" }, protocols = undefined, headers = as(token)) {
  const url = `${NETRA_URL.replace("http", "ws")}/ws/ai-sdk`;
  const transport = new WebSocketChatTransport({ url, protocols, headers: protocols ? {} : headers, body });
  sockets.push(transport);
  return transport;
}

after(() => {
  for (const transport of sockets) transport.close();
});

function chat(transport, more = {}) {
  return new Chat({ id: `chat ${randomUUID()}/1`, transport, onError: () => {}, ...more });
}

const last = (found) => found.messages.at(-1);
const textOf = (message) => message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
const kinds = (message) => message.parts.map((part) => part.type);
const plain = (value) => JSON.parse(JSON.stringify(value));

async function until(condition, what) {
  for (let tries = 0; tries < 12_000; tries++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(`in vain: ${what}`);
}

async function stored(found, token = NETRA_ALICE) {
  const response = await fetch(`${api}/${encodeURIComponent(found.id)}/messages`, { headers: as(token) });
  return response.status === 200 ? (await response.json()).messages : response.status;
}

for (const [name, transport] of [
  ["HTTP", http],
  ["WebSocket", socket],
]) {
  test(`${name}: an answer is streamed, and loads with the same ids and parts`, async () => {
    const found = chat(transport(NETRA_ALICE));
    await found.sendMessage({ text: "hello there" });
    assert.equal(found.status, "ready");
    assert.deepEqual(kinds(last(found)), ["step-start", "reasoning", "dynamic-tool", "text"]);
    assert.equal(textOf(last(found)), "hello there ");
    await found.sendMessage({ text: "and again" });
    assert.equal(found.messages.length, 4);
    assert.deepEqual(await stored(found), plain(found.messages));
  });

  test(`${name}: a client that comes back in mid-run has everything once`, async () => {
    const gate = join(folder, randomUUID());
    const first = chat(transport(NETRA_ALICE, { agent: "gated" }));
    first.sendMessage({ text: gate });
    await until(() => last(first)?.role === "assistant" && textOf(last(first)) === "before ", "the first words");
    const second = chat(transport(NETRA_ALICE), { id: first.id, messages: await stored(first) });
    const resumed = second.resumeStream();
    await until(() => textOf(last(second)) === "before ", "the words again");
    writeFileSync(gate, "");
    await resumed;
    await until(() => first.status === "ready", "the first client's end");
    assert.match(textOf(last(second)), /^before after/);
    assert.deepEqual(plain(second.messages), plain(first.messages));
    await second.resumeStream(); // a moment after its end it is replayed, in place
    assert.deepEqual(plain(second.messages), plain(first.messages));
  });

  test(`${name}: regenerate and edit keep what was there`, async () => {
    const found = chat(transport(NETRA_ALICE));
    await found.sendMessage({ text: "one" });
    const first = last(found).id;
    await found.regenerate();
    assert.notEqual(last(found).id, first);
    assert.equal(found.messages.length, 2);
    await found.sendMessage({ text: "other", messageId: found.messages[0].id });
    assert.equal(textOf(last(found)), "other ");
    const thread = last(found).metadata.threadId;
    const response = await fetch(`${NETRA_URL}/api/threads/${thread}/messages`, { headers: as(NETRA_ALICE) });
    const { messages } = await response.json();
    assert.deepEqual(
      messages.map((one) => [one.role, one.content.trim()]),
      [
        ["user", "one"],
        ["assistant", "one"],
        ["assistant", "one"],
        ["user", "other"],
        ["assistant", "other"],
      ],
    );
    assert.equal(messages[3].parent_id, null);
  });

  test(`${name}: a failure, an unknown agent and another user's chat are errors`, async () => {
    const failing = chat(transport(NETRA_ALICE, { agent: "failing" }));
    await failing.sendMessage({ text: "x" });
    assert.equal(failing.status, "error");
    assert.match(failing.error.message, /The words of the agent/);
    const unknown = chat(transport(NETRA_ALICE, { agent: "nobody" }));
    await unknown.sendMessage({ text: "x" });
    assert.equal(unknown.status, "error");
    const own = chat(transport(NETRA_ALICE));
    await own.sendMessage({ text: "secret" });
    const foreign = chat(transport(NETRA_BOB), { id: last(own).metadata.threadId });
    await foreign.sendMessage({ text: "x" });
    assert.match(foreign.error.message, /no such thread/i);
    const silent = chat(transport(NETRA_BOB), { id: last(own).metadata.threadId });
    await silent.resumeStream();
    assert.deepEqual([silent.status, silent.messages], ["ready", []]);
    const same = chat(transport(NETRA_BOB), { id: own.id }); // the same name is another thread for another user
    await same.resumeStream();
    assert.deepEqual(same.messages, []);
  });

  test(`${name}: a form and an approval are answered, and the run goes on in the same message`, async () => {
    const path = join(folder, randomUUID());
    const automatic = ({ messages }) =>
      lastAssistantMessageIsCompleteWithApprovalResponses({ messages }) ||
      lastAssistantMessageIsCompleteWithToolCalls({ messages });
    const found = chat(transport(NETRA_ALICE, { agent: "asking" }), { sendAutomaticallyWhen: automatic });
    await found.sendMessage({ text: path });
    const asked = last(found).parts.find((part) => part.toolName === "ask_user");
    assert.deepEqual([asked.state, asked.input.message], ["input-available", "Which line?"]);
    const id = last(found).id;
    await found.addToolOutput({ tool: "ask_user", toolCallId: asked.toolCallId, output: "second" });
    await until(() => last(found).parts.some((part) => part.state === "approval-requested"), "the approval");
    await until(() => found.status === "ready", "the end of the stream");
    const approval = last(found).parts.find((part) => part.state === "approval-requested").approval;
    await found.addToolApprovalResponse({ id: approval.id, approved: true });
    await until(() => textOf(last(found)).endsWith("after 2"), "the end");
    await until(() => found.status === "ready", "the end of the stream");
    assert.equal(last(found).id, id);
    assert.equal(textOf(last(found)), "before between after 2");
    assert.deepEqual(await stored(found), plain(found.messages));
  });
}

test("a form in an earlier message is answered there, after another message was sent", async () => {
  const path = join(folder, randomUUID());
  const isAnswered = (part) =>
    part.toolName === "ask_user" && part.state === "output-available" && !part.providerExecuted;
  const automatic = ({ messages }) => messages.length === 4 && messages[1].parts.some(isAnswered);
  const found = chat(http(NETRA_ALICE, { agent: "asking" }), { sendAutomaticallyWhen: automatic });
  await found.sendMessage({ text: path });
  await found.sendMessage({ text: "meanwhile" }, { body: { agent: "echo" } });
  assert.equal(textOf(last(found)), "meanwhile ");
  const asked = found.messages[1].parts.find((part) => part.toolName === "ask_user");
  await found.addToolOutput({ tool: "ask_user", toolCallId: asked.toolCallId, output: "second" });
  const waits = () => found.messages[1].parts.some((part) => part.state === "approval-requested");
  await until(() => waits() && found.status === "ready", "the approval");
  assert.equal(textOf(found.messages[1]), "before between ");
  assert.equal(found.messages.length, 4);
});

test("HTTP: stop at the stop path ends the run, and what was said stays", async () => {
  const found = chat(http(NETRA_ALICE, { agent: "slow" }));
  const sent = found.sendMessage({ text: "x" });
  await until(() => last(found)?.role === "assistant" && textOf(last(found)).length > 10, "words");
  const stop = `${api}/${encodeURIComponent(found.id)}/stop`;
  assert.equal((await fetch(stop, { method: "POST", headers: as(NETRA_BOB) })).status, 404);
  const response = await fetch(stop, { method: "POST", headers: as(NETRA_ALICE) });
  assert.equal(response.status, 202);
  assert.deepEqual((await response.json()).run_ids, [last(found).id]);
  await sent;
  assert.equal(found.status, "ready");
  assert.deepEqual(await stored(found), plain(found.messages));
});

test("HTTP: closing goes on; with Netra-Disconnect: cancel it stops the run", async () => {
  for (const [headers, status] of [
    [{}, "running"],
    [{ "Netra-Disconnect": "cancel" }, "cancelled"],
  ]) {
    const transport = new DefaultChatTransport({
      api,
      headers: { ...as(NETRA_ALICE), ...headers },
      body: { agent: "slow" },
    });
    const found = chat(transport);
    found.sendMessage({ text: "x" });
    await until(() => last(found)?.role === "assistant" && textOf(last(found)).length > 5, "words");
    const run = last(found).id;
    await found.stop();
    const look = async () => (await fetch(`${NETRA_URL}/api/runs/${run}`, { headers: as(NETRA_ALICE) })).json();
    await until(async () => (await look()).status === status, status);
    await fetch(`${NETRA_URL}/api/runs/${run}/cancel`, { method: "POST", headers: as(NETRA_ALICE) });
  }
});

test("WebSocket: stop cancels the run", async () => {
  const found = chat(socket(NETRA_ALICE, { agent: "slow" }));
  found.sendMessage({ text: "x" });
  await until(() => last(found)?.role === "assistant" && textOf(last(found)).length > 5, "words");
  const run = last(found).id;
  await found.stop();
  const look = async () => (await fetch(`${NETRA_URL}/api/runs/${run}`, { headers: as(NETRA_ALICE) })).json();
  await until(async () => (await look()).status === "cancelled", "the end of the run");
});

test("WebSocket: with Netra-Disconnect: continue, stop leaves the run alone", async () => {
  const gate = join(folder, randomUUID());
  const headers = { ...as(NETRA_ALICE), "Netra-Disconnect": "continue" };
  const found = chat(socket(NETRA_ALICE, { agent: "gated" }, undefined, headers));
  found.sendMessage({ text: gate });
  await until(() => last(found)?.role === "assistant" && textOf(last(found)) === "before ", "the first words");
  await found.stop();
  const resumed = found.resumeStream(); // on the same socket
  await until(() => found.status === "streaming", "the words again");
  await found.stop();
  await resumed;
  const again = found.resumeStream();
  writeFileSync(gate, "");
  await again;
  assert.match(textOf(last(found)), /^before after/);
  assert.deepEqual(await stored(found), plain(found.messages));
});

test("HTTP: an answer whose credential ends is not taken for the whole one, and goes on with another", async () => {
  const account = { headers: { ...as(NETRA_ALICE), "Content-Type": "application/json" } };
  const made = await fetch(`${NETRA_URL}/auth/keys`, { ...account, method: "POST", body: '{"name": "short"}' });
  const { id, key } = await made.json();
  const gate = join(folder, randomUUID());
  let token = key;
  const headers = () => as(token);
  const found = chat(new DefaultChatTransport({ api, headers, body: { agent: "gated" } }));
  found.sendMessage({ text: gate });
  await until(() => last(found)?.role === "assistant" && textOf(last(found)) === "before ", "the first words");
  await fetch(`${NETRA_URL}/auth/keys/${id}`, { ...account, method: "DELETE" });
  await until(() => found.status !== "streaming", "the end of the stream");
  assert.equal(found.error?.message, "The session of this request has ended.");
  token = NETRA_ALICE;
  writeFileSync(gate, "");
  await found.resumeStream();
  assert.match(textOf(last(found)), /^before after/);
  assert.deepEqual(await stored(found), plain(found.messages));
});

test("WebSocket: a token in the subprotocol, and a bad one", async () => {
  const found = chat(socket("", { agent: "echo" }, ["jwt-auth", `jwt.${NETRA_ALICE}`]));
  await found.sendMessage({ text: "hello" });
  assert.equal(textOf(last(found)), "hello ");
  const refused = chat(socket("netra_wrong"));
  await refused.sendMessage({ text: "hello" });
  assert.match(refused.error.message, /Sign in/);
});

test("a key that may only read resumes and does not ask", async () => {
  const own = chat(http(NETRA_ALICE));
  await own.sendMessage({ text: "hello" });
  for (const transport of [http, socket]) {
    const reader = chat(transport(NETRA_READ_KEY), { id: own.id });
    await reader.sendMessage({ text: "x" });
    assert.match(reader.error.message, /only read/);
    const resuming = chat(transport(NETRA_READ_KEY), { id: own.id });
    await resuming.resumeStream();
    assert.equal(textOf(last(resuming)), "hello ");
  }
});

test("a file in a data URL becomes an attachment, and another URL is refused", async () => {
  const found = chat(http(NETRA_ALICE));
  const url = `data:text/csv;base64,${Buffer.from("model,cost\ngpt-4o,5\n").toString("base64")}`;
  const file = { type: "file", mediaType: "text/csv", filename: "costs.csv", url };
  await found.sendMessage({ text: "look", files: [file] });
  assert.equal(found.status, "ready");
  const [user] = await stored(found);
  assert.deepEqual([user.parts[0].filename, user.parts[0].mediaType], ["costs.csv", "text/csv"]);
  const again = chat(http(NETRA_ALICE));
  await again.sendMessage({ text: "look", files: [{ ...user.parts[0] }] });
  assert.equal(again.status, "ready");
  const refused = chat(http(NETRA_ALICE));
  await refused.sendMessage({ text: "look", files: [{ ...file, url: "https://example.org/a.csv" }] });
  assert.match(refused.error.message, /data URL/);
});

assert.ok(existsSync(folder));
