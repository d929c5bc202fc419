"""REST: self-service of an account: change the address, take the data along, delete all of it."""

from tempfile import TemporaryFile

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from rest_framework.request import Request
from rest_framework.response import Response

from chat.accounts import audit
from chat.api import turns
from chat.api.attachments import Download
from chat.api.auth import REFRESH_COOKIE, VIEW_COOKIE, Account, session_id_of
from chat.api.base import owner
from chat.api.exports import everything
from chat.api.fields import Email
from chat.api.parsers import fields
from chat.api.schema import described
from chat.api.serializers import ProfileSerializer, ProofSerializer
from chat.api.sso import demand_proof
from chat.protocol import ProtocolError
from chat.runs import retention


class NewAddressSerializer(ProofSerializer):
    email = Email(max_length=254)


class Address(Account):
    """The address by which the user signs in."""

    @described("change_address", {200: ProfileSerializer}, NewAddressSerializer)
    def post(self, request: Request) -> Response:
        """Change it; `forbidden` where only providers sign in: the address is theirs. Sessions and API keys stay."""
        if settings.NETRA_SSO_ONLY:
            raise ProtocolError("forbidden", "Your address is that of your company's account: change it there.")
        given, user = fields(NewAddressSerializer, request), owner(request)
        demand_proof(request, user, session_id_of(request))
        user.email = given["email"]
        try:
            with transaction.atomic():
                user.save(update_fields=["email"])
                audit.record("address_changed", user.pk, request)
        except IntegrityError:
            raise ProtocolError("conflict", "This address is already registered.", field="email") from None
        return Response(ProfileSerializer(user).data)


class Data(Account):
    """All data of the user."""

    @described("export_account", {(200, "application/zip"): bytes})
    def get(self, request: Request) -> Download:
        """Return a zip with the profile, every thread as JSON and Markdown, every file, and all requests."""
        file = TemporaryFile()  # noqa: SIM115 the answer closes it
        everything(owner(request), file)
        file.seek(0)
        turns.end()  # a client may read it slowly
        return Download(file, as_attachment=True, filename="netra.zip", content_type="application/zip")


class Deletion(Account):
    """The end of the account."""

    @described("delete_account", {204: None}, ProofSerializer)
    def post(self, request: Request) -> Response:
        """Delete the user with all data. Raises conflict for the last administrator."""
        user = owner(request)
        demand_proof(request, user, session_id_of(request))
        try:
            retention.erase(user)
        except ValidationError as error:
            raise ProtocolError("conflict", " ".join(error.messages)) from None
        response = Response(status=204)
        for name, path in ((REFRESH_COOKIE, "auth"), (VIEW_COOKIE, "s")):
            response.delete_cookie(name, path=f"{settings.NETRA_BASE_PATH}/{path}", samesite="Strict")
        return response
