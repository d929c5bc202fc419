from django.db import migrations, models


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
    ]
