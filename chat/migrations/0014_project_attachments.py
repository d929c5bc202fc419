from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0013_thread_seen_seq'),
    ]

    operations = [
        migrations.AddField(
            model_name='project',
            name='attachments',
            field=models.ManyToManyField(blank=True, related_name='projects', to='chat.attachment'),
        ),
    ]
