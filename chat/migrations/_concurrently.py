"""Indexes built and dropped on PostgreSQL without a lock that writers wait for; SQLite has no such way.

One to a migration with `atomic = False`: what ran half is then run again from its beginning.
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations


class AddIndex(AddIndexConcurrently):
    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor == 'postgresql':
            # A build that was interrupted leaves an invalid index of this name.
            name = schema_editor.quote_name(self.index.name)
            schema_editor.execute(f'DROP INDEX CONCURRENTLY IF EXISTS {name}')
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        else:
            migrations.AddIndex.database_forwards(self, app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        way = AddIndexConcurrently if schema_editor.connection.vendor == 'postgresql' else migrations.AddIndex
        way.database_backwards(self, app_label, schema_editor, from_state, to_state)


class RemoveIndex(RemoveIndexConcurrently):
    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        way = RemoveIndexConcurrently if schema_editor.connection.vendor == 'postgresql' else migrations.RemoveIndex
        way.database_forwards(self, app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        way = RemoveIndexConcurrently if schema_editor.connection.vendor == 'postgresql' else migrations.RemoveIndex
        way.database_backwards(self, app_label, schema_editor, from_state, to_state)
