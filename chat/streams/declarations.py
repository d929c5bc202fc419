"""The base of the declarations of other clients' requests."""

from pydantic import ConfigDict

from chat.protocol.fields import Declaration


class ClientDeclaration(Declaration):
    """A declaration whose errors name the fields as the client does."""

    model_config = ConfigDict(loc_by_alias=True)
