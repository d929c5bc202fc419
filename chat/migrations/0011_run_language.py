from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0010_mcp_connections'),
    ]

    operations = [
        migrations.AddField(
            model_name='run',
            name='language',
            field=models.CharField(blank=True, db_default='', help_text="Of the user, for the agent's texts. Empty: not known.", max_length=8),
        ),
    ]
