"""REST: input requests and their answers, and what a user has allowed for a thread."""

from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat import protocol, runs
from chat.api.base import ListView, View, identity_of, owner
from chat.api.client_ip import address_of
from chat.api.fields import Id
from chat.api.pagination import PAGED
from chat.api.parsers import body
from chat.api.schema import described
from chat.api.serializers import GrantSerializer, GrantsPageSerializer, InputSerializer, InputsPageSerializer
from chat.models import Grant, InputRequest, User
from chat.protocol import AnswerBody, ProtocolError

_READ = InputRequest.objects.select_related("run", "user", "resolved_by")


def inputs_of(user: User) -> QuerySet[InputRequest]:
    """Return the requests that exist for the user, the newest first."""
    return _READ.filter(runs.visible_to(user)).order_by("-created_at", "-id")


def one_of(requests: QuerySet[InputRequest], request_id: UUID) -> InputRequest:
    """Return one of these requests. Raises not_found."""
    row = requests.filter(pk=request_id).first()
    if row is None:
        raise ProtocolError("not_found", "There is no such request.")
    return row


def _choose(request: Request, name: str, *values: str) -> str:
    """Return a parameter of the query, the first value by default. Raises ProtocolError."""
    value = request.query_params.get(name, values[0])
    if value not in values:
        choices = ", ".join(value for value in values if value)
        raise ProtocolError("invalid_message", f"{name} must be one of {choices}.", field=name)
    return value


def _named(request: Request, *names: str) -> dict[str, Any]:
    """Return the conditions of the query that name a thread or a run. Raises ProtocolError."""
    found: dict[str, Any] = {}
    for name in names:
        given = request.query_params.get(name)
        if given is not None:
            try:
                found[name] = Id().to_internal_value(given)
            except serializers.ValidationError:
                raise ProtocolError("invalid_message", f"{name} must be a UUID.", field=name) from None
    return found


class Inputs(ListView):
    """The requests that exist for the user."""

    serializer_class, results_name = InputSerializer, "inputs"

    @described("inputs", {200: InputsPageSerializer}, query=("status", "thread_id", "run_id", "role", *PAGED))
    def get(self, request: Request) -> Response:
        """List the requests of the user's runs (role owner) and those of others that the user may decide (approver)."""
        user = owner(request)
        found = inputs_of(user).filter(**_named(request, "thread_id", "run_id"))
        if _choose(request, "status", "open", "all") == "open":
            found = found.filter(status=InputRequest.OPEN)
        if role := _choose(request, "role", "", "owner", "approver"):
            found = found.filter(Q(user=user) if role == "owner" else ~Q(user=user))
        return self.page(request, found)


class OneInput(View):
    """Resource of an input request."""

    @described("input", {200: InputSerializer})
    def get(self, request: Request, request_id: UUID) -> Response:
        """Return the request."""
        return Response(InputSerializer(one_of(inputs_of(owner(request)), request_id)).data)


class InputAnswer(View):
    """The answer to a request."""

    @described("answer_input", {200: InputSerializer}, AnswerBody)
    def post(self, request: Request, request_id: UUID) -> Response:
        """Accept or decline. The same answer again is no error."""
        frame = protocol.answer_fields({**body(request), "request_id": str(request_id)})
        user, identity = owner(request), identity_of(request)
        runs.answer(runs.answer_of(frame), runs.Decider(user.pk, "rest", identity.session_id, address_of(request)))
        # The user has decided it, even if it does not exist for them any more: the thread may be deleted by now.
        return Response(InputSerializer(one_of(_READ.all(), request_id)).data)


class Grants(ListView):
    """The tools that the user has allowed for a thread."""

    serializer_class, results_name = GrantSerializer, "grants"

    @described("grants", {200: GrantsPageSerializer}, query=("thread_id", *PAGED))
    def get(self, request: Request) -> Response:
        """List those that are valid."""
        found = Grant.objects.for_user(owner(request)).filter(expires_at__gt=Now(), **_named(request, "thread_id"))
        return self.page(request, found.order_by("-created_at", "-id"))


class OneGrant(View):
    """Resource of a grant."""

    @described("revoke_grant", {204: None})
    def delete(self, request: Request, grant_id: UUID) -> Response:
        """Ask again before the tool is called."""
        runs.revoke_grant(owner(request).pk, grant_id, address_of(request))
        return Response(status=204)
