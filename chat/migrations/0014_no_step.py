from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0013_event_run'),
    ]

    operations = [
        migrations.RemoveField(
            model_name='run',
            name='step',
        ),
    ]
