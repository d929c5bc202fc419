from django.db import migrations, models

from chat.migrations._concurrently import AddIndex


class Migration(migrations.Migration):

    atomic = False
    dependencies = [
        ('chat', '0008_project'),
    ]

    operations = [
        AddIndex(
            model_name='thread',
            index=models.Index(condition=models.Q(('project__isnull', False)), fields=['project'], name='thread_project'),
        ),
    ]
