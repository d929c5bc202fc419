"""Ask, and print the answer as it streams: NETRA_PASSWORD=… python client.py https://host you@example.com echo 'Hi'"""

import json
import os
import sys
import time
import urllib.request
import uuid

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

url, email, agent, content = sys.argv[1:]
body = json.dumps({"email": email, "password": os.environ["NETRA_PASSWORD"]}).encode()
login = urllib.request.Request(url + "/auth/login", body, {"Content-Type": "application/json"})
thread, last, asked, end = str(uuid.uuid4()), 0, None, ""  # its ids are chosen once: sent again, it is asked once
question = {"type": "user_message", "content": content, "agent": agent, "thread_id": thread, "client_msg_id": thread}
while not end:
    try:
        token = json.load(urllib.request.urlopen(login, timeout=30))["access_token"]
        with connect(url.replace("http", "ws", 1) + "/ws", subprotocols=["jwt-auth", f"jwt.{token}"]) as socket:
            socket.send(json.dumps(question))
            while not end:
                event = json.loads(socket.recv())
                kind, seq = event["type"], event["seq"] if "attempt" in event and event["thread_id"] == thread else 0
                if kind == "error" and event["error_code"] in ("unavailable", "rate_limited"):
                    raise OSError("come back in a moment")
                if kind in ("error", "resync"):
                    end = f"{kind}: {event.get('message', 'the record was pruned')}"
                elif asked != (socket, last) and (kind == "message_accepted" or event.get("more") or seq > last + 1):
                    asked = socket, last  # for what was missed, once
                    socket.send(json.dumps({"type": "resume", "thread_id": thread, "after": last}))
                elif seq == last + 1:
                    last = seq
                    print(event.get("delta", "\n(once more)\n" if kind == "run_restarted" else ""), end="", flush=True)
                    end = "" if event.get("status", "started") == "started" else event.get("message", event["status"])
    except (OSError, WebSocketException) as error:  # away: go on where it was; but a wrong password stays wrong
        end = f"cannot log in: {error}" if getattr(error, "status", 0) in range(400, 429) else ""
        time.sleep(2)
print(f"\n[{end}]")
