"""The public interface for agent authors: the names that an agent or its test imports. Pure: no Django, no network."""

from agents.sdk.approval import needs_approval
from agents.sdk.asking import Approval
from agents.sdk.current import current_turn
from agents.sdk.errors import AgentError
from agents.sdk.journal import Answer, Declined, Expired, Request, Waiting
from agents.sdk.records import Attachment, Call, Message, Sink
from agents.sdk.testing import RecordingSink, accept, decline, expire
from agents.sdk.thought import Thought
from agents.sdk.tools import once
from agents.sdk.turn import Turn

__all__ = [
    "AgentError",
    "Answer",
    "Approval",
    "Attachment",
    "Call",
    "Declined",
    "Expired",
    "Message",
    "RecordingSink",
    "Request",
    "Sink",
    "Thought",
    "Turn",
    "Waiting",
    "accept",
    "current_turn",
    "decline",
    "expire",
    "needs_approval",
    "once",
]
