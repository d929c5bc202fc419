"""OpenAI's interface: the available agents as models."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.agents import agents
from chat.api.base import identity_of, owner
from chat.api.schema import described
from chat.api.v1.base import OBJECT, OpenAIErrorBody, V1View
from chat.protocol import ProtocolError
from chat.streams.addresses import answer_headers


def available(request: Request) -> list[dict[str, Any]]:
    """Return the available agents as models. An agent has no time at which it was made: `created` is 0."""
    return [
        {
            "id": agent["name"],
            "object": "model",
            "created": 0,
            "owned_by": "netra",
            "description": agent["description"],
        }
        for agent in agents(owner(request).pk, identity_of(request).agents)
        if agent["available"]
    ]


class Models(V1View):
    @described("v1_models", {200: OBJECT}, errors=OpenAIErrorBody)
    def get(self, request: Request) -> Response:
        """List the available agents."""
        return Response({"object": "list", "data": available(request)}, headers=answer_headers())


class OneModel(V1View):
    @described("v1_model", {200: OBJECT}, errors=OpenAIErrorBody)
    def get(self, request: Request, name: str) -> Response:
        for model in available(request):
            if model["id"] == name:
                return Response(model, headers=answer_headers())
        raise ProtocolError("unknown_agent", f"There is no model {name[:64]!r}.", field="model")
