from django.db import migrations, models

from ._concurrently import AddIndex


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('chat', '0010_run_active'),
    ]

    operations = [
        AddIndex(
            model_name='message',
            index=models.Index(fields=['-created_at'], name='message_created'),
        ),
    ]
