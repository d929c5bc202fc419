"""Ask, and print the answer as it streams.

NETRA_PASSWORD=… python client.py https://host you@example.com echo 'Hi'
"""

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
thread, asked, end = str(uuid.uuid4()), None, ""  # its ids are chosen once: sent again, it is asked once
last = attempt = shown = 0  # number of the last event; attempt that speaks; length of its text here
question = {"type": "user_message", "content": content, "agent": agent, "thread_id": thread, "client_msg_id": thread}
while not end:
    try:
        token = json.load(urllib.request.urlopen(login, timeout=30))["access_token"]
        with connect(url.replace("http", "ws", 1) + "/ws", subprotocols=["jwt-auth", f"jwt.{token}"]) as socket:
            socket.send(json.dumps(question))
            while not end:
                event = json.loads(socket.recv())
                kind, ours = event["type"], "attempt" in event and event["thread_id"] == thread
                seq = event.get("seq", 0) if ours else 0
                if kind == "error" and event["error_code"] in ("unavailable", "rate_limited"):
                    raise OSError("come back in a moment")
                if kind in ("error", "resync"):
                    end = f"{kind}: {event.get('message', 'the event log was pruned')}"
                elif asked != (socket, last) and (kind == "message_accepted" or event.get("more") or seq > last + 1):
                    asked = socket, last  # for what was missed, once
                    socket.send(json.dumps({"type": "resume", "thread_id": thread, "after": last}))
                elif seq == last + 1 or (kind == "live_delta" and ours and event["attempt"] == attempt):
                    last, attempt = seq or last, event["attempt"]
                    shown = 0 if kind == "run_restarted" else shown
                    offset, units = event.get("offset", shown), event.get("delta", "").encode("utf-16-le")
                    units = units[2 * (shown - offset) :] if offset <= shown else b""  # after a gap its event follows
                    shown += len(units) // 2
                    print("\n(once more)\n" * (kind == "run_restarted") + units.decode("utf-16-le"), end="", flush=True)
                    end = "" if event.get("status", "started") == "started" else event.get("message", event["status"])
    except (OSError, WebSocketException) as error:  # away: go on where it was; but a wrong password stays wrong
        end = f"cannot log in: {error}" if getattr(error, "status", 0) in range(400, 429) else ""
        time.sleep(2)
print(f"\n[{end}]")
