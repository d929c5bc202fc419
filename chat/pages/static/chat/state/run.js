/** A run's agents and steps after one of its events. Pure. */

/**
 * @typedef {import("../net/frames.js").AgentStarted} AgentStarted
 * @typedef {import("../net/frames.js").ToolCompleted} ToolCompleted
 * @typedef {import("../net/frames.js").ToolExecuting} ToolExecuting
 * @typedef {import("./model.js").Part} Part
 * @typedef {import("./model.js").Run} Run
 * @typedef {import("./model.js").Step} Step
 * @typedef {import("./model.js").ToolCall} ToolCall
 */

/**
 * Add what an agent begins to do, the run's own or a sub-agent.
 * @param {Run} run
 * @param {AgentStarted} event
 * @returns {Run}
 */
export function startPart(run, event) {
  const parent = event.parent_agent ? newestPart(run.parts, event.parent_agent) : null;
  /** @type {Part} */
  const part = {
    key: event.seq,
    part_id: event.part_id ?? null,
    agent_name: event.agent_name,
    parent: parent?.key ?? null,
    task: event.task,
    done: false,
    summary: null,
    duration_ms: null,
  };
  return {
    ...run,
    agent: event.parent_agent ? run.agent : event.agent_name,
    message_id: event.message_id ?? run.message_id,
    status: "running",
    attempt: event.attempt,
    started_at: run.started_at ?? event.timestamp,
    ...(event.parent_agent ? {} : { text: "", logged: 0 }),
    parts: [...run.parts, part],
  };
}

/**
 * Add the text of an event. Live text may have shown it already.
 * @param {Run} run
 * @param {string} delta
 * @returns {Run}
 */
export function addText(run, delta) {
  const logged = run.logged + delta.length;
  return { ...run, logged, text: run.text.slice(0, run.logged) + delta + run.text.slice(logged) };
}

/**
 * Add live text: text that follows in events. Known text is ignored, and text after a gap, which comes with its event.
 * @param {Run} run
 * @param {import("../net/frames.js").LiveDelta} frame
 * @returns {Run}
 */
export function addLiveText(run, { attempt, offset, delta }) {
  const isNext = run.status === "running" && run.attempt === attempt && offset <= run.text.length;
  return isNext ? { ...run, text: run.text + delta.slice(run.text.length - offset) } : run;
}

/**
 * Show a piece of a thought that grows. Known text is ignored; after a gap the thought is shown from there on.
 * @param {Run} run
 * @param {import("../net/frames.js").LiveThinking} frame
 * @returns {Run}
 */
export function addLiveThought(run, { attempt, agent_name, part_id, thought_id, offset, delta }) {
  const isOver = run.steps.some((step) => step.kind === "thought" && step.id === thought_id);
  if (run.status !== "running" || run.attempt !== attempt || isOver) return run;
  const known = run.thinking.find(({ id }) => id === thought_id);
  const shown = known ?? { id: thought_id, part: partOf(run, { agent_name, part_id }), from: offset, text: "" };
  const end = shown.from + shown.text.length;
  if (offset + delta.length <= end) return run;
  const next =
    offset > end ? { ...shown, from: offset, text: delta } : { ...shown, text: shown.text + delta.slice(end - offset) };
  return {
    ...run,
    thinking: known ? run.thinking.map((one) => (one === known ? next : one)) : [...run.thinking, next],
  };
}

/**
 * Add a thought that has come to its end.
 * @param {Run} run
 * @param {import("../net/frames.js").AgentThinking} event
 * @returns {Run}
 */
export function addThought(run, event) {
  const { thought_id: id = null, duration_ms = null } = event;
  return {
    ...run,
    thinking: run.thinking.filter((one) => one.id !== id),
    steps: [
      ...endThought(run, event),
      {
        kind: "thought",
        key: event.seq,
        id,
        part: partOf(run, event),
        text: event.reasoning,
        at: event.timestamp,
        duration_ms,
      },
    ],
  };
}

/**
 * Find the newest part of this agent, one at work before one that is done.
 * @param {Part[]} parts
 * @param {string} agent_name
 */
function newestPart(parts, agent_name) {
  const own = parts.filter((part) => part.agent_name === agent_name);
  return own.findLast((part) => !part.done) ?? own.at(-1);
}

/**
 * @param {Run} run
 * @param {{agent_name: string, part_id?: string | null}} event
 * @returns {number} the key of the part that this event belongs to; 0: none is known
 */
export function partOf({ parts }, { agent_name, part_id = null }) {
  const part = newestPart(
    parts.filter((one) => one.part_id === part_id),
    agent_name,
  );
  return (part ?? newestPart(parts, agent_name) ?? parts[0])?.key ?? 0;
}

/**
 * Give the last thought its duration if this event ends it.
 * @param {Run} run
 * @param {{timestamp: string}} event
 * @returns {Step[]}
 */
export function endThought(run, event) {
  const last = run.steps.at(-1);
  if (last?.kind !== "thought" || last.duration_ms !== null) return run.steps;
  return [...run.steps.slice(0, -1), { ...last, duration_ms: Date.parse(event.timestamp) - Date.parse(last.at) }];
}

/**
 * Add a tool call, or its outcome.
 * @param {Run} run
 * @param {ToolExecuting | ToolCompleted} event
 * @returns {Step[]}
 */
export function withToolCall(run, event) {
  const known = run.steps.find((step) => step.kind === "tool" && step.tool_call_id === event.tool_call_id);
  /** @type {ToolCall} */
  const call = /** @type {ToolCall | undefined} */ (known) ?? {
    kind: "tool",
    key: event.seq,
    part: partOf(run, event),
    tool_call_id: event.tool_call_id,
    tool_name: event.tool_name,
    parameters: event.type === "tool_executing" ? event.parameters : undefined,
    status: "running",
    result: undefined,
    error: null,
    duration_ms: null,
    reused: false,
    truncated: false,
  };
  /** @type {ToolCall} */
  const next =
    event.type === "tool_executing"
      ? call
      : {
          ...call,
          status: event.success ? "completed" : "failed",
          result: event.result,
          error: event.error ?? null,
          duration_ms: event.duration_ms,
          reused: event.reused === true,
          truncated: event.truncated === true,
        };
  return known ? run.steps.map((step) => (step === known ? next : step)) : [...run.steps, next];
}
