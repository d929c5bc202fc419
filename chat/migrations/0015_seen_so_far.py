from django.db import migrations
from django.db.models import F


def count_as_seen(apps, schema_editor):
    """Count all that there is as seen, as nobody noted it until now. One user at a time: no writer waits for long."""
    threads = apps.get_model('chat', 'Thread').objects.filter(seen_seq=0)
    for user in threads.order_by().values_list('user_id', flat=True).distinct():
        threads.filter(user_id=user).update(seen_seq=F('last_seq'))


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('chat', '0014_project_attachments'),
    ]

    operations = [
        migrations.RunPython(count_as_seen, migrations.RunPython.noop, elidable=True),
    ]
