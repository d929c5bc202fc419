from django.db import migrations, models

from ._concurrently import AddIndex


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('chat', '0011_message_created'),
    ]

    operations = [
        AddIndex(
            model_name='run',
            index=models.Index(fields=['-created_at'], name='run_created'),
        ),
    ]
