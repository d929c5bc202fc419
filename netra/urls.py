from django.contrib import admin
from django.urls import include, path, re_path

from chat import errors

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("chat.urls")),
    re_path("", errors.not_found),  # so that it is JSON with DEBUG too
]
handler400 = "chat.errors.bad_request"
handler403 = "chat.errors.forbidden"
handler404 = "chat.errors.not_found"
handler500 = "chat.errors.server_error"
