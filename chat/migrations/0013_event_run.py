import django.db.models.deletion
from django.db import migrations, models


class AlterField(migrations.AlterField):
    """On PostgreSQL Django would drop the index that holds a run to one end as well, and not make it again."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor == 'postgresql':
            schema_editor.execute('ALTER TABLE chat_event DROP CONSTRAINT chat_event_run_id_cbc39321_fk_chat_run_id')
            schema_editor.execute('DROP INDEX chat_event_run_id_cbc39321')
        else:
            super().database_forwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0012_run_created'),
    ]

    operations = [
        AlterField(
            model_name='event',
            name='run',
            field=models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='events', to='chat.run'),
        ),
    ]
