"""Every HTTP path of the wire, and the pages. No path of ours ends in a slash."""

from django.urls import path, register_converter
from django.urls.converters import UUIDConverter

from chat import accounts, api, attachments, export, protocol, rest, system, views
from chat.errors import reading, upgrade_required


class IdConverter(UUIDConverter):
    """A UUID in either case, as the socket takes it."""

    regex = UUIDConverter.regex.replace("a-f", "a-fA-F")


register_converter(IdConverter, "id")

urlpatterns = [
    path("", reading(views.page), name="page"),
    path("c/<id:thread_id>", reading(views.page), name="thread_page"),
    path("settings", reading(views.settings), name="settings"),
    path("login", reading(views.login), name="login"),
    path("signup", reading(views.signup), name="signup"),
    path("reset", views.reset, name="reset"),
    path("reset/sent", views.reset_sent, name="reset_sent"),
    path("reset/<uidb64>/<token>", views.reset_confirm, name="reset_confirm"),
    path("auth/register", accounts.Register.as_view()),
    path("auth/login", accounts.Login.as_view()),
    path("auth/refresh", accounts.Refresh.as_view()),
    path("auth/logout", accounts.Logout.as_view()),
    path("auth/password", accounts.Password.as_view()),
    path("auth/sessions", accounts.Sessions.as_view()),
    path("auth/sessions/<id:session_id>", accounts.OneSession.as_view()),
    path("auth/verify", accounts.Verify.as_view()),
    path("auth/me", accounts.Me.as_view()),
    path("api/threads", api.Threads.as_view()),
    path("api/threads/<id:thread_id>", api.OneThread.as_view()),
    path("api/threads/<id:thread_id>/messages", api.ThreadMessages.as_view()),
    path("api/threads/<id:thread_id>/events", api.ThreadEvents.as_view()),
    path("api/threads/<id:thread_id>/export", export.Export.as_view()),
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
    path("api/health", system.Ready.as_view()),
    path("api/discovery/services", system.Services.as_view()),
    path("api/schema", rest.Schema.as_view(), name="schema"),
    path("api/docs", rest.Docs.as_view()),
    path("metrics", reading(system.prometheus)),
    path("health", system.Alive.as_view()),
    path("ws/config", system.SocketConfig.as_view()),
    *(path(socket.removeprefix("/"), upgrade_required) for socket in protocol.MODES),
]
