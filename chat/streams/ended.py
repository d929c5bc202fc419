"""The events of a run as the log has them, also after the log was pruned."""

from datetime import UTC, datetime
from typing import Any

from chat import protocol
from chat.models import Message, Run
from chat.protocol import TERMINAL
from chat.runs import event_log

PAGE_ROWS = 1000


def events_of(run: Run) -> list[str]:
    """Return the frames of the run's events; if its end was pruned, an end that has the stored answer."""
    frames, after, last = [], run.thread_seq - 1, ""
    while True:
        rows = event_log.read(run.thread_id, after, PAGE_ROWS, [str(run.pk)])
        for after, _, last, text in rows:  # noqa: B007 used after the loop
            frames.append(text)
        if len(rows) < PAGE_ROWS:
            break
    end = None if last in TERMINAL else stored_end(run)
    return frames if end is None else [*frames, end]


def stored_end(run: Run) -> str | None:
    """Return a terminal event made of the stored run and answer; None if the run has not ended. Its number is 0."""
    run.refresh_from_db(fields=["status", "error_code", "usage", "finished_at"])
    if run.status in Run.ACTIVE:
        return None
    answer = Message.objects.filter(run=run).values_list("id", "content").first()
    fields: dict[str, Any] = {"status": run.status}
    if run.status == Run.COMPLETED:
        fields |= {"final_response": answer[1] if answer else "", "agents_involved": [run.agent], "usage": run.usage}
        fields |= {"message_id": str(answer[0]) if answer else None, "duration_ms": 0}
    elif run.status == Run.FAILED:
        fields |= {"error_code": run.error_code, "message": "This failed.", "recoverable": True}
    elif answer is not None:
        fields["message_id"] = str(answer[0])
    head, tail = protocol.event(
        {Run.COMPLETED: "agent_completed", Run.FAILED: "agent_failed"}.get(run.status, "agent_cancelled"),
        thread_id=str(run.thread_id),
        run_id=str(run.pk),
        attempt=run.attempt,
        agent_name=run.agent,
        timestamp=protocol.timestamp(run.finished_at or datetime.now(UTC)),
        fields=fields,
    )
    return f"{head}0{tail}"
