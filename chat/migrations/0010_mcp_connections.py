import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

KINDS = (
    'signed_in', 'sign_in_failed', 'locked_out', 'session_ended', 'refresh_token_reused', 'signed_out_everywhere',
    'password_changed', 'deactivated', 'deleted', 'admin_added', 'admin_changed', 'admin_deleted', 'admin_read',
    'admin_acted', 'input_resolved', 'grant_added', 'grant_removed', 'assistant_changed',
    'key_made', 'key_used_first', 'key_revoked',
    'provider_connected', 'provider_disconnected', 'address_changed', 'signed_out_by_provider', 'group_changed',
    'share_made', 'share_revoked', 'mcp_connected', 'mcp_disconnected',
)


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0009_thread_project'),
    ]

    operations = [
        migrations.AlterField(
            model_name='auditrecord',
            name='kind',
            field=models.CharField(choices=[(kind, kind) for kind in KINDS], max_length=32),
        ),
        migrations.CreateModel(
            name='McpAuthorization',
            fields=[
                ('digest', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('server', models.CharField(max_length=32)),
                ('secrets', models.TextField(editable=False)),
                ('expires_at', models.DateTimeField(db_index=True)),
                ('session', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='chat.session')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='McpClient',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('issuer', models.TextField()),
                ('redirect_uri', models.TextField()),
                ('secrets', models.TextField(editable=False)),
                ('expires_at', models.DateTimeField(null=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('issuer', 'redirect_uri'), name='mcp_client_issuer_redirect')],
            },
        ),
        migrations.CreateModel(
            name='McpConnection',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('server', models.CharField(help_text='Its name in NETRA_MCP_SERVERS.', max_length=32)),
                ('url', models.TextField()),
                ('issuer', models.TextField(blank=True, help_text='The authorization server; empty: the user gave a token.')),
                ('scope', models.TextField(blank=True)),
                ('secrets', models.TextField(editable=False)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('refreshing_until', models.DateTimeField(blank=True, editable=False, null=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('used_at', models.DateTimeField(blank=True, null=True)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='mcp_connections', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'MCP connection',
                'constraints': [models.UniqueConstraint(fields=('user', 'server'), name='mcp_connection_user_server')],
            },
        ),
    ]
