"""Routes of HTTP: the admin, and those of the app."""

from django.contrib import admin
from django.urls import include, path, re_path

from chat.api import exceptions

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("chat.urls")),
    re_path("", exceptions.not_found),  # so that it is JSON with DEBUG too
]
handler400 = "chat.api.exceptions.bad_request"
handler403 = "chat.api.exceptions.forbidden"
handler404 = "chat.api.exceptions.not_found"
handler500 = "chat.api.exceptions.server_error"
