import django.db.models.deletion
from django.db import migrations, models

KINDS = (
    'signed_in', 'sign_in_failed', 'locked_out', 'session_ended', 'refresh_token_reused', 'signed_out_everywhere',
    'password_changed', 'deactivated', 'deleted', 'admin_added', 'admin_changed', 'admin_deleted', 'admin_read',
    'admin_acted', 'input_resolved', 'grant_added', 'grant_removed', 'assistant_changed',
    'key_made', 'key_used_first', 'key_revoked',
    'provider_connected', 'provider_disconnected', 'address_changed', 'signed_out_by_provider', 'group_changed',
    'share_made', 'share_revoked',
)


class Migration(migrations.Migration):

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('chat', '0004_run_waiting'),
    ]

    operations = [
        migrations.AddField(
            model_name='session',
            name='provider',
            field=models.CharField(blank=True, db_default='', editable=False, help_text='Who began it.', max_length=32),
        ),
        migrations.AddField(
            model_name='session',
            name='provider_sub',
            field=models.CharField(blank=True, db_default='', editable=False, help_text="The provider's id of the user.", max_length=191),
        ),
        migrations.AddField(
            model_name='session',
            name='provider_sid',
            field=models.CharField(blank=True, db_default='', editable=False, help_text="The provider's id of its own session.", max_length=255),
        ),
        migrations.AddField(
            model_name='session',
            name='expires_at',
            field=models.DateTimeField(blank=True, help_text='Its end, however often it is refreshed.', null=True),
        ),
        migrations.CreateModel(
            name='GroupPolicy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('claims', models.JSONField(blank=True, default=list, help_text="Values of a provider's claim: whoever has one joins at the sign-in.")),
                ('group', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='policy', to='auth.group')),
            ],
            options={'verbose_name_plural': 'group policies'},
        ),
        migrations.AlterField(
            model_name='auditrecord',
            name='kind',
            field=models.CharField(choices=[(kind, kind) for kind in KINDS], max_length=32),
        ),
    ]
