from django.db import migrations

from ._concurrently import RemoveIndex


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('chat', '0009_run_lease'),
    ]

    operations = [
        RemoveIndex(
            model_name='run',
            name='run_active',
        ),
    ]
