"""REST: links by which others read a conversation."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.urls import reverse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat import sharing
from chat.api.base import ListView, View, origin_of, owner
from chat.api.fields import Id, Seconds, Timestamp
from chat.api.pagination import PAGED
from chat.api.parsers import fields
from chat.api.schema import described
from chat.api.serializers import MAX_LIFETIME, PageSerializer
from chat.api.threads import thread_of
from chat.models import Share
from chat.protocol import ProtocolError


class NewShareSerializer(serializers.Serializer[Any]):
    message_id = Id(required=False, help_text="the last message to share; absent: the newest")
    expires_in = Seconds(min_value=1, max_value=MAX_LIFETIME, required=False, help_text="absent: never")


class SharedMessageSerializer(serializers.Serializer[Any]):
    role = serializers.CharField(help_text="user or assistant")
    content = serializers.CharField()


class PreviewSerializer(serializers.Serializer[Any]):
    title = serializers.CharField()
    messages = SharedMessageSerializer(many=True)
    readers = serializers.ChoiceField(["members", "anyone"])


class ShareSerializer(serializers.Serializer[Share]):
    id = serializers.UUIDField()
    url = serializers.SerializerMethodField()
    title = serializers.CharField()
    thread_id = serializers.UUIDField()
    created_at = Timestamp()
    expires_at = Timestamp(allow_null=True)

    def get_url(self, share: Share) -> str:
        """Return the link, which begins with one of ALLOWED_ORIGINS."""
        path = reverse("chat:shared", args=[share.token])
        return f"{origin_of(self.context['request'])}{path}"


class SharesPageSerializer(PageSerializer):
    shares = ShareSerializer(many=True)


class ThreadShare(View):
    @described("preview_share", {200: PreviewSerializer}, query=("message_id",))
    def get(self, request: Request, thread_id: UUID) -> Response:
        """Return what a link made now would show, and to whom. Nothing is shared by this."""
        given = NewShareSerializer(data={name: request.query_params[name] for name in request.query_params})
        if not given.is_valid():
            raise ProtocolError("invalid_message", "message_id must be a UUID.", field="message_id")
        thread = thread_of(owner(request), thread_id)
        messages = sharing.snapshot(thread, given.validated_data.get("message_id"))
        shown = {"title": thread.title, "messages": messages, "readers": settings.NETRA_SHARE_LINKS}
        return Response(PreviewSerializer(shown).data)

    @described("share_thread", {201: ShareSerializer}, NewShareSerializer)
    def post(self, request: Request, thread_id: UUID) -> Response:
        """Share the branch that ends with a message, as it is now. At most 20 links of a thread are live."""
        given = fields(NewShareSerializer, request, needed=False)
        lifetime = timedelta(seconds=given["expires_in"]) if "expires_in" in given else None
        share = sharing.make(thread_of(owner(request), thread_id), given.get("message_id"), lifetime, request)
        return Response(ShareSerializer(share, context={"request": request}).data, status=201)


class Shares(ListView):
    """The user's links that are neither revoked nor expired."""

    serializer_class, results_name = ShareSerializer, "shares"

    @described("shares", {200: SharesPageSerializer}, query=PAGED)
    def get(self, request: Request) -> Response:
        """List them, the newest first."""
        return self.page(request, sharing.live_shares(owner(request)).order_by("-created_at", "-pk"))


class OneShare(View):
    """Resource of a link."""

    @described("revoke_share", {204: None})
    def delete(self, request: Request, share_id: UUID) -> Response:
        """Revoke the link: it leads nowhere from now on."""
        share = sharing.live_shares(owner(request)).filter(pk=share_id).first()
        if share is None:
            raise ProtocolError("not_found", "There is no such link.")
        sharing.revoke([share], request)
        return Response(status=204)
