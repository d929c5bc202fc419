"""REST: one run, and its cancellation."""

from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from chat import runs
from chat.api.base import View, identity_of, owner
from chat.api.schema import described
from chat.api.serializers import (
    CancelledSerializer,
    RunSerializer,
)
from chat.models import Run
from chat.protocol import ProtocolError
from chat.streams.addresses import runs_of


class OneRun(View):
    @described("run", {200: RunSerializer})
    def get(self, request: Request, run_id: UUID) -> Response:
        return Response(RunSerializer(_run(request, run_id)).data)


class CancelRun(View):
    @described("cancel_run", {202: CancelledSerializer})
    def post(self, request: Request, run_id: UUID) -> Response:
        """Cancel the run. `run_ids` is empty if it had ended."""
        return Response({"run_ids": runs.cancel(owner(request).pk, _run(request, run_id).pk)}, status=202)


def _run(request: Request, run_id: UUID) -> Run:
    run = runs_of(identity_of(request)).filter(pk=run_id).first()
    if run is None:
        raise ProtocolError("not_found", "There is no such run.", field="run_id")
    return run
