from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0006_session_provider_sub'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='language',
            field=models.CharField(blank=True, db_default='', default='', help_text="Of pages and mails. Empty: the browser's.", max_length=8),
        ),
    ]
