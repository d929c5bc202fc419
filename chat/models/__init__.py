"""Tables. Code reaches rows through `for_user(user)`, which finds only rows of that user."""

from chat.models.accounts import ApiKey, AuditRecord, GroupPolicy, OwnedQuerySet, Session, User, UserManager
from chat.models.assistants import Assistant, AssistantTool, AssistantVersion, ToolDefinition
from chat.models.checklists import CheckedStep
from chat.models.connections import McpAuthorization, McpClient, McpConnection
from chat.models.feedback import Feedback
from chat.models.inputs import Grant, InputRequest, InputStep, RunState
from chat.models.projects import Project
from chat.models.shares import Share
from chat.models.threads import Attachment, Event, Message, MessageText, Run, Thread, Worker, attachment_path

__all__ = [
    "ApiKey",
    "Assistant",
    "AssistantTool",
    "AssistantVersion",
    "Attachment",
    "AuditRecord",
    "CheckedStep",
    "Event",
    "Feedback",
    "Grant",
    "GroupPolicy",
    "InputRequest",
    "InputStep",
    "McpAuthorization",
    "McpClient",
    "McpConnection",
    "Message",
    "MessageText",
    "OwnedQuerySet",
    "Project",
    "Run",
    "RunState",
    "Session",
    "Share",
    "Thread",
    "ToolDefinition",
    "User",
    "UserManager",
    "Worker",
    "attachment_path",
]
