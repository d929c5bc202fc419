from itertools import islice

from django.conf import settings
from django.core.management import call_command
from django.db import migrations

BATCH = 1000


def make_cache_table(apps, schema_editor):
    call_command("createcachetable", database=schema_editor.connection.alias, verbosity=0)


def drop_cache_table(apps, schema_editor):
    name = schema_editor.quote_name(settings.CACHES["default"]["LOCATION"])
    schema_editor.execute(f"DROP TABLE IF EXISTS {name}")


def add_addresses(apps, schema_editor):
    """Give each user an address that is not verified yet."""
    User, EmailAddress = apps.get_model("chat", "User"), apps.get_model("account", "EmailAddress")
    users = User.objects.filter(emailaddress=None).values_list("pk", "email").iterator(BATCH)
    while batch := list(islice(users, BATCH)):
        EmailAddress.objects.bulk_create(
            EmailAddress(user_id=pk, email=email, primary=True, verified=False) for pk, email in batch
        )


class Migration(migrations.Migration):
    dependencies = [
        ("account", "0009_emailaddress_unique_primary_email"),
        ("chat", "0005_providers"),
        ("socialaccount", "0006_alter_socialaccount_extra_data"),
    ]

    operations = [
        migrations.RunPython(make_cache_table, drop_cache_table),
        migrations.RunPython(add_addresses, migrations.RunPython.noop),
    ]
