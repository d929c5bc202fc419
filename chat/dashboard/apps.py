"""The app that replaces `django.contrib.admin`."""

from django.apps import apps
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig

from chat.dashboard import names


class AdminConfig(DjangoAdminConfig):
    """Django's admin with the site of Netra. Names are translated before forms are made of them."""

    default_site = "chat.dashboard.site.NetraAdmin"

    def ready(self) -> None:
        """Translate the names of models, and load the admins of all apps."""
        names.translate(apps.get_app_config("chat").get_models())
        super().ready()
