from django.db import migrations, models

from chat.migrations._concurrently import AddIndex


class Migration(migrations.Migration):

    atomic = False
    dependencies = [
        ('chat', '0005_providers'),
    ]

    operations = [
        AddIndex(
            model_name='session',
            index=models.Index(condition=models.Q(('provider', ''), _negated=True), fields=['provider', 'provider_sub'], name='session_provider_sub'),
        ),
    ]
