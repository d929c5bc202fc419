from django.db import migrations, models

from chat.migrations._concurrently import AddIndex


class Migration(migrations.Migration):

    atomic = False
    dependencies = [
        ('chat', '0003_waiting_rules'),
    ]

    operations = [
        AddIndex(
            model_name='run',
            index=models.Index(condition=models.Q(('status', 'waiting')), fields=['waiting_since'], name='run_waiting'),
        ),
    ]
