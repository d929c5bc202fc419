"""Every HTTP path of the wire, and the pages. No path of ours ends in a slash."""

from django.urls import path, register_converter
from django.urls.converters import UUIDConverter

from chat import protocol
from chat.agui import views as agui
from chat.aisdk import views as aisdk
from chat.api import (
    account,
    agents,
    asyncapi,
    attachments,
    auth,
    checklists,
    connections,
    discovery,
    events,
    exports,
    feedback,
    health,
    inputs,
    keys,
    messages,
    metrics,
    projects,
    prometheus,
    runs,
    schema,
    shares,
    sso,
    threads,
)
from chat.api.exceptions import reading, upgrade_required
from chat.api.v1 import base as v1
from chat.api.v1 import chat_completions, conversations, models, responses
from chat.mcp_client import views as mcp_client
from chat.oidc import views as oidc
from chat.pages import shared, views


class IdConverter(UUIDConverter):
    """A UUID in either case, as the socket takes it."""

    regex = UUIDConverter.regex.replace("a-f", "a-fA-F")


register_converter(IdConverter, "id")

app_name = "chat"
urlpatterns = [
    path("", reading(views.page), name="page"),
    path("c/<slug:thread_id>", reading(views.page), name="thread_page"),
    path("inputs", reading(views.page), name="inputs_page"),
    path("settings", reading(views.settings), name="settings"),
    path("login", reading(views.login), name="login"),
    path("signup", reading(views.signup), name="signup"),
    path("favicon.ico", reading(views.favicon), name="favicon"),
    path("robots.txt", reading(views.robots), name="robots"),
    path("reset", views.reset, name="reset"),
    path("reset/sent", views.reset_sent, name="reset_sent"),
    path("reset/<uidb64>/<token>", views.reset_confirm, name="reset_confirm"),
    path("s/<str:token>", reading(shared.page), name="shared"),
    path("auth/register", auth.Register.as_view(), name="register"),
    path("auth/login", auth.Login.as_view(), name="auth_login"),
    path("auth/refresh", auth.Refresh.as_view(), name="refresh"),
    path("auth/logout", auth.Logout.as_view(), name="logout"),
    path("auth/password", auth.Password.as_view(), name="password"),
    path("auth/sessions", auth.Sessions.as_view(), name="sessions"),
    path("auth/sessions/<id:session_id>", auth.OneSession.as_view(), name="session"),
    path("auth/keys", keys.ApiKeys.as_view(), name="api_keys"),
    path("auth/keys/<id:key_id>", keys.OneApiKey.as_view(), name="api_key"),
    path("auth/stream", auth.Stream.as_view(), name="auth_stream"),
    path("auth/view", auth.Viewer.as_view(), name="view"),
    path("auth/verify", auth.Verify.as_view(), name="verify"),
    path("auth/email", account.Address.as_view(), name="change_address"),
    path("auth/export", account.Data.as_view(), name="export_account"),
    path("auth/delete", account.Deletion.as_view(), name="delete_account"),
    path("auth/me", auth.Me.as_view(), name="me"),
    path("auth/providers", sso.Providers.as_view(), name="sso_providers"),
    path("auth/sso/accounts", sso.Connections.as_view(), name="sso_accounts"),
    path("auth/sso/<slug:provider_id>/connect", sso.Connect.as_view(), name="sso_connect"),
    path("auth/sso/<slug:provider_id>/login", oidc.login, name="oidc_login"),
    path("auth/sso/<slug:provider_id>/callback", oidc.callback, name="oidc_callback"),
    path("auth/sso/<slug:provider_id>/logout", oidc.back_channel, name="oidc_logout"),
    # After the paths of providers, one of which may be called `accounts`.
    path("auth/sso/accounts/<slug:account_id>", sso.OneConnection.as_view(), name="sso_account"),
    path("auth/mcp/client.json", mcp_client.client, name="mcp_client"),
    path("auth/mcp/callback", mcp_client.callback, name="mcp_callback"),
    path("auth/mcp/connections", connections.McpConnections.as_view(), name="mcp_connections"),
    path("auth/mcp/connections/<slug:server>", connections.OneMcpConnection.as_view(), name="mcp_connection"),
    path("login/done", reading(views.sso_done), name="sso_done"),
    path("auth/instructions", auth.Instructions.as_view(), name="instructions"),
    path("auth/language", auth.Language.as_view(), name="language"),
    path("auth/notifications", auth.Notifications.as_view(), name="notifications"),
    path("api/threads", threads.Threads.as_view(), name="threads"),
    path("api/threads/<id:thread_id>", threads.OneThread.as_view(), name="thread"),
    path("api/threads/<id:thread_id>/messages", messages.ThreadMessages.as_view(), name="thread_messages"),
    path("api/threads/<id:thread_id>/events", events.ThreadEvents.as_view(), name="thread_events"),
    path("api/threads/<id:thread_id>/feedback", feedback.ThreadFeedback.as_view(), name="thread_feedback"),
    path("api/threads/<id:thread_id>/checklist", checklists.ThreadChecklist.as_view(), name="thread_checklist"),
    path("api/threads/<id:thread_id>/export", exports.Export.as_view(), name="thread_export"),
    path("api/threads/<id:thread_id>/copy", threads.CopyThread.as_view(), name="copy_thread"),
    path("api/threads/<id:thread_id>/share", shares.ThreadShare.as_view(), name="thread_share"),
    path("api/projects", projects.Projects.as_view(), name="projects"),
    path("api/projects/<id:project_id>", projects.OneProject.as_view(), name="project"),
    path(
        "api/projects/<id:project_id>/threads/<id:thread_id>",
        projects.ProjectThread.as_view(),
        name="project_thread",
    ),
    path("api/shares", shares.Shares.as_view(), name="shares"),
    path("api/shares/<id:share_id>", shares.OneShare.as_view(), name="share"),
    path("api/messages", messages.Messages.as_view(), name="messages"),
    path("api/messages/<id:message_id>/regenerate", messages.RegenerateMessage.as_view(), name="regenerate"),
    path("api/messages/<id:message_id>/feedback", feedback.MessageFeedback.as_view(), name="message_feedback"),
    path(
        "api/messages/<id:message_id>/checklist/<slug:name>",
        checklists.MessageChecklist.as_view(),
        name="message_checklist",
    ),
    path("api/chat/messages", messages.ChatMessages.as_view(), name="chat_messages"),
    path("agui/<str:agent>", agui.Agent.as_view(), name="ag_ui"),
    path("agui/<str:agent>/stop", agui.AgentStop.as_view(), name="ag_ui_stop"),
    path("api/chat", aisdk.Chat.as_view(), name="ai_sdk_chat"),
    path("api/chat/<path:chat_id>/stream", aisdk.ChatStream.as_view(), name="ai_sdk_stream"),
    path("api/chat/<path:chat_id>/stop", aisdk.ChatStop.as_view(), name="ai_sdk_stop"),
    path("api/chat/<path:chat_id>/messages", aisdk.ChatHistory.as_view(), name="ai_sdk_messages"),
    path("api/runs/<id:run_id>", runs.OneRun.as_view(), name="run"),
    path("api/runs/<id:run_id>/cancel", runs.CancelRun.as_view(), name="run_cancel"),
    path("api/inputs", inputs.Inputs.as_view(), name="inputs"),
    path("api/inputs/<id:request_id>", inputs.OneInput.as_view(), name="input"),
    path("api/inputs/<id:request_id>/answer", inputs.InputAnswer.as_view(), name="input_answer"),
    path("api/grants", inputs.Grants.as_view(), name="grants"),
    path("api/grants/<id:grant_id>", inputs.OneGrant.as_view(), name="grant"),
    path("api/attachments", attachments.Attachments.as_view(), name="attachments"),
    path("api/attachments/<id:attachment_id>", attachments.OneAttachment.as_view(), name="attachment"),
    path("api/attachments/<id:attachment_id>/preview", attachments.AttachmentPreview.as_view(), name="preview"),
    path("api/attachments/<id:attachment_id>/content", attachments.AttachmentContent.as_view(), name="content"),
    path("api/agents", agents.Agents.as_view(), name="agents"),
    path("api/agents/status", agents.AgentsStatus.as_view(), name="agents_status"),
    path("api/agents/execute", agents.Execute.as_view(), name="agents_execute"),
    path("api/metrics", metrics.Metrics.as_view(), name="metrics"),
    path("api/health", health.Ready.as_view(), name="ready"),
    path("api/discovery/services", discovery.Services.as_view(), name="services"),
    path("api/schema", schema.Schema.as_view(), name="schema"),
    path("api/asyncapi", asyncapi.AsyncApi.as_view(), name="asyncapi"),
    path("api/docs", schema.Docs.as_view(), name="docs"),
    path("v1/models", models.Models.as_view(), name="v1_models"),
    path("v1/models/<path:name>", models.OneModel.as_view(), name="v1_model"),
    path("v1/chat/completions", chat_completions.ChatCompletions.as_view(), name="v1_chat_completions"),
    path("v1/responses", responses.Responses.as_view(), name="v1_responses"),
    path("v1/responses/<str:response_id>", responses.OneResponse.as_view(), name="v1_response"),
    path("v1/responses/<str:response_id>/cancel", responses.CancelResponse.as_view(), name="v1_cancel"),
    path("v1/responses/<str:response_id>/input_items", responses.InputItems.as_view(), name="v1_input_items"),
    path("v1/conversations", conversations.Conversations.as_view(), name="v1_conversations"),
    path("v1/conversations/<str:conversation_id>", conversations.OneConversation.as_view(), name="v1_conversation"),
    path("v1/<path:path>", v1.nothing, name="v1_nothing"),
    path("metrics", reading(prometheus.prometheus), name="prometheus"),
    path("health", health.Alive.as_view(), name="alive"),
    path("ws/config", discovery.SocketConfig.as_view(), name="socket_config"),
    *(path(route.removeprefix("/"), upgrade_required, name=f"socket_{mode}") for route, mode in protocol.MODES.items()),
]
