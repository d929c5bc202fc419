import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0011_run_language'),
    ]

    operations = [
        migrations.CreateModel(
            name='CheckedStep',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=32)),
                ('checked_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('message', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='checked_steps', to='chat.message')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('message', 'name'), name='checked_step_message_name')],
            },
        ),
    ]
