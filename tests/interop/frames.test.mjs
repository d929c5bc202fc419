// The clients' own schemas and reducers read the frames of many runs. tests/e2e/test_interop_frames.py makes them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { AbstractAgent } from "@ag-ui/client";
import { EventSchema } from "@ag-ui/core/schemas";
import { readUIMessageStream, uiMessageChunkSchema } from "ai";
import { from } from "rxjs";

const runs = JSON.parse(readFileSync(process.env.NETRA_FRAMES));
const plain = (value) => JSON.parse(JSON.stringify(value));
const warnings = [];
console.warn = (...words) => warnings.push(words.join(" "));

test("AI SDK takes every chunk, and makes the message that loads", async () => {
  const schema = uiMessageChunkSchema();
  for (const { chunks, message } of runs) {
    for (const chunk of chunks) assert.ok((await schema.validate(chunk)).success, JSON.stringify(chunk));
    const shown = chunks.filter((chunk) => chunk.type !== "error");
    shown.push({ type: "message-metadata", messageMetadata: {} }); // the parts before it are shown, too
    let last;
    const onError = (error) => assert.fail(error);
    for await (const made of readUIMessageStream({ stream: ReadableStream.from(shown), onError })) last = made;
    assert.deepEqual(plain(last), message);
  }
});

class Recorded extends AbstractAgent {
  constructor(events, options) {
    super(options);
    this.events = events;
  }

  run() {
    return from(this.events);
  }
}

test("AG-UI takes every event, of a run and of a client that joins it, and shows the snapshot's messages", async () => {
  for (const { events, joined, branch, messages } of runs) {
    for (const stream of [events, joined]) {
      for (const event of stream) {
        const read = EventSchema.safeParse(event);
        assert.ok(read.success, JSON.stringify([event, read.error]));
      }
      if (!["RUN_FINISHED", "RUN_ERROR"].includes(stream.at(-1).type)) continue; // the client takes it for a lost line
      const agent = new Recorded(stream, { threadId: "chat-1", initialMessages: branch });
      await agent.runAgent({ runId: "run-1" });
      // A text that was open at the snapshot and got no more has no end there, and not its metadata.
      const without = stream === joined ? ({ metadata, ...rest }) => rest : (one) => one;
      const byId = (all) =>
        plain(all)
          .map(without)
          .sort((a, b) => (a.id < b.id ? -1 : 1));
      const ids = new Set(messages.map((one) => one.id));
      // Thoughts of a lost attempt stay shown.
      const shown = agent.messages.filter((one) => one.role !== "reasoning" || ids.has(one.id));
      assert.deepEqual(byId(shown), byId(messages));
    }
  }
  assert.deepEqual(warnings, []);
});
