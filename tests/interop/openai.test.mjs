// OpenAI's library for Node, the AI SDK's providers, EventSource and MCP's client for TypeScript against a running site.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { generateText, streamText } from "ai";
import { EventSource } from "eventsource";
import OpenAI from "openai";

const { NETRA_URL, NETRA_ALICE, NETRA_BOB, NETRA_READ_KEY } = process.env;
const baseURL = `${NETRA_URL}/v1`;
const user = (content) => ({ role: "user", content });
const openai = (apiKey = NETRA_ALICE) => new OpenAI({ apiKey, baseURL, maxRetries: 0 });
const bearer = { Authorization: `Bearer ${NETRA_ALICE}` };

test("openai: chat completions, whole and streamed", async () => {
  const asked = { model: "echo", messages: [user("one two three")] };
  const whole = await openai().chat.completions.create(asked);
  assert.equal(whole.choices[0].message.content, "one two three ");
  const stream = openai().chat.completions.stream(asked);
  assert.equal(await stream.finalContent(), "one two three ");
});

test("openai: a response in the background is read again after any of its events", async () => {
  const asked = { model: "echo", input: "one two three", background: true };
  const final = await openai().responses.stream(asked).finalResponse();
  assert.equal(final.output_text, "one two three ");
  for (const starting_after of [0, 3]) {
    const again = await openai().responses.stream({ response_id: final.id, starting_after }).finalResponse();
    assert.equal(again.output_text, final.output_text);
  }
});

test("openai: a wrong key, a key that may only read, another user", async () => {
  const asked = { model: "echo", input: "secret" };
  await assert.rejects(openai("netra_wrong").responses.create(asked), { status: 401 });
  await assert.rejects(openai(NETRA_READ_KEY).responses.create(asked), { status: 403 });
  const own = await openai().responses.create(asked);
  await assert.rejects(openai(NETRA_BOB).responses.retrieve(own.id), { status: 404 });
  assert.equal((await openai(NETRA_READ_KEY).responses.retrieve(own.id)).output_text, "secret ");
});

test("openai: an agent that fails says why", async () => {
  const answer = await openai().responses.create({ model: "failing", input: "some_code" });
  assert.equal(answer.status, "failed");
  assert.equal(answer.error.code, "server_error");
});

test("EventSource: a run's events to their end, and no reconnection after it", async () => {
  const asked = openai().chat.completions.create({ model: "echo", messages: [user("x")] });
  const { response } = await asked.withResponse();
  const [thread, run] = ["netra-thread", "netra-run"].map((name) => response.headers.get(name));
  const source = new EventSource(`${NETRA_URL}/api/threads/${thread}/events?until=${run}`, {
    fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...bearer } }),
  });
  const types = [];
  source.onmessage = (event) => types.push(JSON.parse(event.data).type);
  const alive = setInterval(() => {}, 1000); // its timer of reconnection lets the process end
  await new Promise((resolve) => {
    source.onerror = () => source.readyState === source.CLOSED && resolve();
  });
  clearInterval(alive);
  assert.equal(types[0], "message_created");
  assert.deepEqual(
    types.filter((type) => type === "agent_completed"),
    ["agent_completed"],
  );
});

test("AI SDK's providers: a stream, and two conversations that begin alike", async () => {
  const plain = createOpenAICompatible({ name: "netra", baseURL, apiKey: NETRA_ALICE })("echo");
  let text = "";
  for await (const piece of streamText({ model: plain, prompt: "one two" }).textStream) text += piece;
  assert.equal(text, "one two ");
  const model = createOpenAI({ baseURL, apiKey: NETRA_ALICE }).responses("echo");
  const thread = (answer) => answer.response.headers["netra-thread"];
  const first = await generateText({ model, messages: [user("same")] });
  const other = await generateText({ model, messages: [user("same")] });
  const messages = [user("same"), ...first.response.messages, user("more")];
  const more = await generateText({ model, messages });
  assert.equal(more.text, "more ");
  assert.notEqual(thread(other), thread(first));
  assert.equal(thread(more), thread(first));
});

test("MCP's client: an agent is a tool", async () => {
  const client = new Client({ name: "tests", version: "1" });
  const requestInit = { headers: bearer };
  await client.connect(new StreamableHTTPClientTransport(new URL(`${NETRA_URL}/mcp`), { requestInit }));
  assert.ok((await client.listTools()).tools.some((tool) => tool.name === "echo"));
  const called = await client.callTool({ name: "echo", arguments: { message: "hi" } });
  assert.equal(called.structuredContent.answer, "hi ");
  await client.close();
});
