// Ask, and print the answer as it streams: NETRA_PASSWORD=… node client.mjs https://host you@example.com echo 'Hi'

const [url, email, agent, content] = process.argv.slice(2);
const body = JSON.stringify({ email, password: process.env.NETRA_PASSWORD });
const login = { method: "POST", headers: { "Content-Type": "application/json" }, body };
const thread_id = crypto.randomUUID(); // its ids are chosen once: sent again, it is asked once
const question = { type: "user_message", content, agent, thread_id, client_msg_id: thread_id };
let last = 0,
  attempt = 0,
  shown = 0,
  end = ""; // the last event; the attempt that speaks; the length of its text here

const connection = (token) =>
  new Promise((closed) => {
    const socket = new WebSocket(url.replace("http", "ws") + "/ws", ["jwt-auth", `jwt.${token}`]);
    const send = (frame) => socket.send(JSON.stringify(frame));
    let asked = -1,
      silent = false,
      timer;
    const ping = () => {
      if (silent) socket.close();
      else send({ type: "ping" });
      silent = true;
    }; // is it still there?
    socket.onopen = () => {
      send(question);
      timer = setInterval(ping, 20_000);
    };
    socket.onclose = socket.onerror = () => {
      clearInterval(timer);
      closed();
    };
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data),
        { type, status = "started" } = event;
      const ours = "attempt" in event && event.thread_id === thread_id,
        seq = ours ? event.seq : 0;
      silent = false;
      if (type === "error" && /^(unavailable|rate_limited)$/.test(event.error_code))
        socket.close(); // come back later
      else if (type === "error" || type === "resync") end = `${type}: ${event.message ?? "the record was pruned"}`;
      else if (asked !== last && (type === "message_accepted" || event.more || seq > last + 1)) {
        asked = last; // for what was missed, once
        send({ type: "resume", thread_id, after: last });
      } else if (seq === last + 1 || (type === "live_delta" && ours && event.attempt === attempt)) {
        const again = type === "run_restarted",
          { offset = 0, delta = "" } = event;
        [last, attempt, shown] = [seq ?? last, event.attempt, again ? 0 : shown];
        const text = offset <= shown ? delta.slice(shown - offset) : ""; // after a gap its event follows
        shown += text.length;
        process.stdout.write((again ? "\n(once more)\n" : "") + text);
        if (status !== "started") end = event.message ?? status;
      }
      if (end) socket.close();
    };
  });
while (!end) {
  // away: go on where it was; but a wrong password stays wrong
  const answer = await fetch(`${url}/auth/login`, login).catch(() => null);
  if (answer?.status >= 400 && answer.status < 429) end = `cannot log in: ${answer.status}`;
  if (answer?.ok) await connection((await answer.json()).access_token);
  if (!end) await new Promise((done) => setTimeout(done, 2000));
}
console.log(`\n[${end}]`);
