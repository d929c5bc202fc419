import django.db.models.deletion
import django.db.models.functions.datetime
import uuid
from django.conf import settings
from django.db import migrations, models

from chat.models.fields import OrderedJSONField

Now = django.db.models.functions.datetime.Now
CASCADE, SET_NULL = django.db.models.deletion.CASCADE, django.db.models.deletion.SET_NULL


class Migration(migrations.Migration):

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('chat', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='input_mail',
            field=models.CharField(choices=[('others', 'others'), ('all', 'all'), ('none', 'none')], db_default='others', default='others', help_text='Others: about requests of others, which a group of the user decides, but not about own ones.', max_length=8, verbose_name='mail about requests'),
        ),
        migrations.AddField(
            model_name='user',
            name='input_mail_at',
            field=models.DateTimeField(editable=False, help_text='Time of the last one.', null=True),
        ),
        migrations.AddField(
            model_name='run',
            name='interactive',
            field=models.BooleanField(db_default=True, help_text='Whether a person is there to answer its requests.'),
        ),
        migrations.AddField(
            model_name='run',
            name='continues',
            field=models.BooleanField(db_default=False, help_text='Whether the next claim continues the attempt instead of starting another.'),
        ),
        migrations.AddField(
            model_name='run',
            name='waiting_since',
            field=models.DateTimeField(blank=True, help_text='Time of the suspension, until the claim.', null=True),
        ),
        migrations.CreateModel(
            name='Assistant',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='Small letters, digits, - and _. Clients and API keys use it.', max_length=64, unique=True)),
                ('title', models.CharField(blank=True, help_text='Shown instead of the name.', max_length=100)),
                ('description', models.CharField(blank=True, max_length=300)),
                ('instructions', models.TextField(help_text='What the model is told before each conversation.')),
                ('model', models.CharField(blank=True, help_text='A name of the catalogue; empty: its first model.', max_length=64)),
                ('options', models.JSONField(blank=True, default=dict, help_text='temperature, top_p, max_tokens')),
                ('starters', models.JSONField(blank=True, default=list, help_text='Up to six messages that the page offers.')),
                ('groups', models.ManyToManyField(blank=True, help_text='It exists for their members alone; without a group for everybody.', to='auth.group')),
                ('enabled', models.BooleanField(default=True, help_text='Disabling it ends no run.')),
                ('created_at', models.DateTimeField(db_default=Now(), editable=False)),
            ],
            options={'ordering': ('pk',)},
        ),
        migrations.CreateModel(
            name='AssistantTool',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('assistant', models.ForeignKey(on_delete=CASCADE, related_name='tools', to='chat.assistant')),
                ('tool', models.CharField(max_length=64)),
                ('policy', models.CharField(choices=[('off', 'off'), ('never', 'never'), ('ask', 'ask'), ('always', 'always')], default='ask', max_length=8)),
                ('decided_by', models.CharField(default='owner', help_text="owner, or group: and a group's name.", max_length=160)),
                ('four_eyes', models.BooleanField(default=False, help_text="Somebody else than the run's user decides.")),
                ('editable', models.BooleanField(default=True, help_text='The person may change the parameters.')),
                ('definition_hash', models.CharField(blank=True, editable=False, max_length=64)),
                ('definition', OrderedJSONField(blank=True, editable=False, null=True)),
            ],
            options={'constraints': [models.UniqueConstraint(fields=('assistant', 'tool'), name='assistant_tool')]},
        ),
        migrations.CreateModel(
            name='AssistantVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('assistant', models.ForeignKey(on_delete=CASCADE, related_name='versions', to='chat.assistant')),
                ('number', models.IntegerField()),
                ('content', OrderedJSONField()),
                ('by', models.ForeignKey(null=True, on_delete=SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('at', models.DateTimeField(db_default=Now(), editable=False)),
            ],
            options={'constraints': [models.UniqueConstraint(fields=('assistant', 'number'), name='assistant_version_number')]},
        ),
        migrations.CreateModel(
            name='ToolDefinition',
            fields=[
                ('tool', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('server', models.CharField(max_length=32)),
                ('definition', OrderedJSONField(help_text='Its name, description and schema.')),
                ('definition_hash', models.CharField(max_length=64)),
                ('hints', models.JSONField(default=dict)),
                ('seen_at', models.DateTimeField(db_default=Now())),
            ],
        ),
        migrations.AddField(
            model_name='run',
            name='assistant_version',
            field=models.ForeignKey(blank=True, db_index=False, help_text='Of an assistant: the version that the run keeps to its end.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='runs', to='chat.assistantversion'),
        ),
        migrations.CreateModel(
            name='InputRequest',
            fields=[
                ('id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('run', models.ForeignKey(on_delete=CASCADE, related_name='inputs', to='chat.run')),
                ('thread', models.ForeignKey(on_delete=CASCADE, related_name='inputs', to='chat.thread')),
                ('user', models.ForeignKey(on_delete=CASCADE, related_name='inputs', to=settings.AUTH_USER_MODEL)),
                ('kind', models.CharField(max_length=16)),
                ('status', models.CharField(default='open', max_length=16)),
                ('path', models.TextField(blank=True)),
                ('agent_name', models.TextField()),
                ('message', models.TextField()),
                ('schema', OrderedJSONField(blank=True, null=True)),
                ('default', OrderedJSONField(blank=True, null=True)),
                ('tool_name', models.TextField(blank=True)),
                ('tool_call_id', models.CharField(blank=True, max_length=64)),
                ('parameters', OrderedJSONField(blank=True, null=True)),
                ('definition_hash', models.CharField(blank=True, max_length=64)),
                ('editable', models.BooleanField(default=False)),
                ('decided_by', models.CharField(default='owner', help_text="owner, or group: and a group's name.", max_length=160)),
                ('four_eyes', models.BooleanField(default=False, help_text="Whether somebody else than the run's user decides.")),
                ('reason', models.TextField(blank=True)),
                ('remember', models.BooleanField(default=True, help_text='Whether an acceptance may be remembered for the thread.')),
                ('created_at', models.DateTimeField(db_default=Now(), editable=False)),
                ('expires_at', models.DateTimeField()),
                ('resolved_at', models.DateTimeField(blank=True, null=True)),
                ('action', models.CharField(blank=True, help_text='accept or decline', max_length=16)),
                ('content', OrderedJSONField(blank=True, null=True)),
                ('edited_parameters', OrderedJSONField(blank=True, null=True)),
                ('comment', models.TextField(blank=True)),
                ('resolved_by', models.ForeignKey(blank=True, null=True, on_delete=SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('via', models.CharField(blank=True, max_length=16)),
                ('session', models.ForeignKey(blank=True, null=True, on_delete=SET_NULL, related_name='+', to='chat.session')),
                ('address', models.GenericIPAddressField(blank=True, null=True)),
            ],
            options={
                'permissions': [('answer_inputrequest', 'Can answer any input request')],
                'indexes': [
                    models.Index(condition=models.Q(('status', 'open')), fields=['user', 'created_at'], name='input_open_user'),
                    models.Index(condition=models.Q(('status', 'open')), fields=['expires_at'], name='input_open_expires'),
                    models.Index(fields=['-created_at'], name='input_created'),
                ],
            },
        ),
        migrations.CreateModel(
            name='InputStep',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run', models.ForeignKey(db_index=False, on_delete=CASCADE, related_name='steps', to='chat.run')),
                ('key', models.UUIDField()),
                ('result', models.TextField()),
                ('created_at', models.DateTimeField(db_default=Now(), editable=False)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('run', 'key'), name='step_run_key')],
            },
        ),
        migrations.CreateModel(
            name='RunState',
            fields=[
                ('run', models.OneToOneField(on_delete=CASCADE, primary_key=True, related_name='state', serialize=False, to='chat.run')),
                ('state', models.TextField()),
                ('seq', models.BigIntegerField()),
                ('saved_at', models.DateTimeField(db_default=Now())),
            ],
        ),
        migrations.CreateModel(
            name='Grant',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('user', models.ForeignKey(on_delete=CASCADE, related_name='grants', to=settings.AUTH_USER_MODEL)),
                ('thread', models.ForeignKey(on_delete=CASCADE, related_name='grants', to='chat.thread')),
                ('tool_name', models.TextField()),
                ('definition_hash', models.CharField(max_length=64)),
                ('by', models.ForeignKey(null=True, on_delete=SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('created_at', models.DateTimeField(db_default=Now(), editable=False)),
                ('expires_at', models.DateTimeField()),
            ],
        ),
    ]
