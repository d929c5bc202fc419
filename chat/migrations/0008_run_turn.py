from django.db import migrations, models

from ._concurrently import AddIndex


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('chat', '0007_turn'),
    ]

    operations = [
        AddIndex(
            model_name='run',
            index=models.Index(condition=models.Q(('status', 'queued')), fields=['turn', 'created_at'], name='run_turn'),
        ),
    ]
