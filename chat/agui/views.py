"""HTTP for AG-UI clients: run an agent, and stop it."""

from collections.abc import AsyncIterator
from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from chat import runs
from chat.agui.bodies import RunAgentInput, StopBody, run_input, stop_body
from chat.agui.requests import Opened, open_run, stop
from chat.api.base import identity_of
from chat.api.client_ip import address_of
from chat.api.messages import idempotent
from chat.api.parsers import body as json_body
from chat.api.schema import described
from chat.dialects import COMMENT, sse
from chat.dialects.agui import refused
from chat.streams.addresses import facts_of, headers_of
from chat.streams.serializers import StoppedSerializer
from chat.streams.views import StreamView, stopped, streamed

_STREAM: dict[int | tuple[int, str], Any] = {(200, "text/event-stream"): str}


class Agent(StreamView):
    """The path of an agent."""

    mode = "ag-ui"
    reading_methods = ("POST",)  # by which a client comes back to a run, too: `open_run` forbids what writes

    @described("ag_ui_run", _STREAM, RunAgentInput, headers=("Idempotency-Key", "Netra-Disconnect"))
    def post(self, request: Request, agent: str) -> HttpResponseBase:
        """Run the agent for the last message, join a run that is known, or answer what it has asked."""
        body = run_input(self.read(request))
        cancels = self.cancels(request, default=False)
        key = idempotent(request, {}).get("client_msg_id")
        identity = self.admit(request)
        self.count_message(request)
        decider = runs.Decider(identity.user_id, "agui", identity.session_id, address_of(request))
        opened = open_run(identity, agent, body, key, decider)
        if opened.unanswered:
            return _refused(opened, body)
        return self.stream(request, opened.run, facts_of(opened.run), opened.projection(body), cancels=cancels)


class AgentStop(StreamView):
    """The path of a client's stop button."""

    @described("ag_ui_stop", {202: StoppedSerializer}, StopBody)
    def post(self, request: Request, agent: str) -> Response:
        """Stop a run, or all runs of a thread."""
        return stopped(*stop(identity_of(request), agent, stop_body(json_body(request))))


def _refused(opened: Opened, body: RunAgentInput) -> HttpResponseBase:
    """Return the stream of a run that fails, because the thread's run waits for all its requests to be answered."""
    frames = refused(body.thread_id, body.run_id, "input_required", "Answer all that this run has asked first.")

    async def text() -> AsyncIterator[str]:
        yield COMMENT + "".join(map(sse, frames))

    return streamed(text(), headers_of(facts_of(opened.run)))
