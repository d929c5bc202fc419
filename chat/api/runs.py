"""REST: one run, and its cancellation."""

from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from chat import runs
from chat.api.base import View, owner
from chat.api.schema import described
from chat.api.serializers import (
    CancelledSerializer,
    RunSerializer,
)
from chat.models import Run
from chat.protocol import ProtocolError


class OneRun(View):
    @described("run", {200: RunSerializer})
    def get(self, request: Request, run_id: UUID) -> Response:
        run = Run.objects.for_user(owner(request)).filter(pk=run_id).first()
        if run is None:
            raise ProtocolError("not_found", "There is no such run.")
        return Response(RunSerializer(run).data)


class CancelRun(View):
    @described("cancel_run", {202: CancelledSerializer})
    def post(self, request: Request, run_id: UUID) -> Response:
        """Cancel the run. `run_ids` is empty if it had ended."""
        return Response({"run_ids": runs.cancel(owner(request).pk, run_id, None)}, status=202)
