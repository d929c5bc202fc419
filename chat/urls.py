"""Every HTTP path of the wire, and the pages. No path of ours ends in a slash."""

from django.urls import path, register_converter
from django.urls.converters import UUIDConverter

from chat import api, attachments, protocol, views
from chat.api import reading


class IdConverter(UUIDConverter):
    """A UUID in either case, as the socket takes it."""

    regex = UUIDConverter.regex.replace("a-f", "a-fA-F")


register_converter(IdConverter, "id")

urlpatterns = [
    path("", reading(views.page), name="page"),
    path("c/<id:thread_id>", reading(views.page), name="thread_page"),
    path("login", reading(views.login), name="login"),
    path("signup", reading(views.signup), name="signup"),
    path("auth/register", api.Register.as_view()),
    path("auth/login", api.Login.as_view()),
    path("auth/refresh", api.Refresh.as_view()),
    path("auth/logout", api.Logout.as_view()),
    path("auth/verify", api.Verify.as_view()),
    path("auth/me", api.Me.as_view()),
    path("api/threads", api.Threads.as_view()),
    path("api/threads/<id:thread_id>", api.OneThread.as_view()),
    path("api/threads/<id:thread_id>/messages", api.ThreadMessages.as_view()),
    path("api/threads/<id:thread_id>/events", api.ThreadEvents.as_view()),
    path("api/messages", api.Messages.as_view()),
    path("api/messages/<id:message_id>/regenerate", api.RegenerateMessage.as_view()),
    path("api/chat/messages", api.ChatMessages.as_view()),
    path("api/runs/<id:run_id>", api.OneRun.as_view()),
    path("api/runs/<id:run_id>/cancel", api.CancelRun.as_view()),
    path("api/attachments", attachments.Attachments.as_view()),
    path("api/attachments/<id:attachment_id>", attachments.OneAttachment.as_view()),
    path("api/attachments/<id:attachment_id>/content", attachments.AttachmentContent.as_view()),
    path("api/agents", api.Agents.as_view()),
    path("api/agents/status", api.AgentsStatus.as_view()),
    path("api/agents/execute", api.Execute.as_view()),
    path("api/metrics", api.Metrics.as_view()),
    path("api/health", api.Ready.as_view()),
    path("api/discovery/services", api.Services.as_view()),
    path("api/schema", api.Schema.as_view(), name="schema"),
    path("api/docs", api.Docs.as_view()),
    path("health", api.Alive.as_view()),
    path("ws/config", api.SocketConfig.as_view()),
    *(path(socket.removeprefix("/"), api.upgrade_required) for socket in protocol.MODES),
]
