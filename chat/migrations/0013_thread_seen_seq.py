from django.db import migrations, models
from django.db.models import F


def seen(apps, schema_editor):
    """Count all that there is as seen: nobody noted it until now."""
    apps.get_model('chat', 'Thread').objects.update(seen_seq=F('last_seq'))


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0012_checked_step'),
    ]

    operations = [
        migrations.AddField(
            model_name='thread',
            name='seen_seq',
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.RunPython(seen, migrations.RunPython.noop, elidable=True),
    ]
