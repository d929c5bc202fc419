from django.db import migrations, models

# A resolved request never changes. Only the deletion of a user or a session may empty its reference.
TRIGGER = """
    CREATE FUNCTION chat_inputrequest_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF (to_jsonb(NEW) - 'resolved_by_id' - 'session_id') IS DISTINCT FROM
            (to_jsonb(OLD) - 'resolved_by_id' - 'session_id')
            OR NEW.resolved_by_id IS NOT NULL AND NEW.resolved_by_id IS DISTINCT FROM OLD.resolved_by_id
            OR NEW.session_id IS NOT NULL AND NEW.session_id IS DISTINCT FROM OLD.session_id
        THEN RAISE EXCEPTION 'a resolved input request never changes' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER chat_inputrequest_keep BEFORE UPDATE ON chat_inputrequest
        FOR EACH ROW WHEN (OLD.status <> 'open') EXECUTE FUNCTION chat_inputrequest_keep();
"""


def add_trigger(apps, schema_editor):
    if schema_editor.connection.vendor == 'postgresql':
        schema_editor.execute(TRIGGER)


def remove_trigger(apps, schema_editor):
    if schema_editor.connection.vendor == 'postgresql':
        schema_editor.execute('DROP TRIGGER chat_inputrequest_keep ON chat_inputrequest')
        schema_editor.execute('DROP FUNCTION chat_inputrequest_keep')


def choices(*names):
    return [(name, name) for name in names]


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0002_waiting'),
    ]

    operations = [
        migrations.AlterField(
            model_name='auditrecord',
            name='kind',
            field=models.CharField(max_length=32, choices=choices(
                'signed_in', 'sign_in_failed', 'locked_out', 'session_ended', 'refresh_token_reused',
                'signed_out_everywhere', 'password_changed', 'deactivated', 'deleted', 'admin_added', 'admin_changed',
                'admin_deleted', 'admin_read', 'admin_acted', 'input_resolved', 'grant_added', 'grant_removed',
                'assistant_changed', 'key_made', 'key_used_first', 'key_revoked',
            )),
        ),
        migrations.AlterField(
            model_name='run',
            name='status',
            field=models.CharField(default='queued', max_length=16, choices=choices(
                'queued', 'running', 'waiting', 'completed', 'failed', 'cancelled',
            )),
        ),
        migrations.RunPython(add_trigger, remove_trigger),
    ]
