from django.contrib import admin
from django.urls import include, path, re_path

from chat import api

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("chat.urls")),
    re_path("", api.not_found),  # so that it is JSON with DEBUG too
]
handler400 = "chat.api.bad_request"
handler403 = "chat.api.forbidden"
handler404 = "chat.api.not_found"
handler500 = "chat.api.server_error"
