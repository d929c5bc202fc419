from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class AddIndex(AddIndexConcurrently):
    """On PostgreSQL without a lock that writers wait for; SQLite has no such way."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        way = AddIndexConcurrently if schema_editor.connection.vendor == 'postgresql' else migrations.AddIndex
        way.database_forwards(self, app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        way = AddIndexConcurrently if schema_editor.connection.vendor == 'postgresql' else migrations.AddIndex
        way.database_backwards(self, app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('chat', '0007_turn'),
    ]

    operations = [
        AddIndex(
            model_name='message',
            index=models.Index(fields=['-created_at'], name='message_created'),
        ),
        AddIndex(
            model_name='run',
            index=models.Index(fields=['-created_at'], name='run_created'),
        ),
    ]
