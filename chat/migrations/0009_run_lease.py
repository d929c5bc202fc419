from django.db import migrations, models

from ._concurrently import AddIndex


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('chat', '0008_run_turn'),
    ]

    operations = [
        AddIndex(
            model_name='run',
            index=models.Index(condition=models.Q(('status', 'running')), fields=['lease_until'], name='run_lease'),
        ),
    ]
