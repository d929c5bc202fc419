"""REST: projects, and which threads are in them."""

from typing import Any
from uuid import UUID

from django.db import transaction
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat import runs
from chat.api.base import ListView, View, owner
from chat.api.fields import Id, Name, Text, Timestamp
from chat.api.pagination import PAGED
from chat.api.parsers import fields
from chat.api.schema import described
from chat.api.serializers import AttachmentSerializer, PageSerializer, ThreadSerializer
from chat.api.threads import thread_of
from chat.models import Attachment, Project, User
from chat.protocol import MAX_ATTACHMENTS, ProtocolError

MAX_PROJECTS = 200  # of a user
MAX_INSTRUCTIONS = 2000  # characters


class NewProjectSerializer(serializers.Serializer[Any]):
    name = Name(max_length=100)
    instructions = Text(max_length=MAX_INSTRUCTIONS, required=False, allow_blank=True)
    attachment_ids = serializers.ListField(child=Id(), max_length=MAX_ATTACHMENTS, required=False)


class ChangeProjectSerializer(NewProjectSerializer):
    name = Name(max_length=100, required=False)


class ProjectSerializer(serializers.Serializer[Project]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    instructions = serializers.CharField(help_text="what the assistant is told in each of its threads")
    attachments = AttachmentSerializer(many=True, help_text="for the first message of each new thread")
    created_at = Timestamp()


class ProjectsPageSerializer(PageSerializer):
    projects = ProjectSerializer(many=True)


def project_of(user: User, project_id: UUID) -> Project:
    """Return the user's project. Raises not_found."""
    project = Project.objects.for_user(user).filter(pk=project_id).prefetch_related("attachments").first()
    if project is None:
        raise ProtocolError("not_found", "There is no such project.")
    return project


def attach(project: Project, ids: list[UUID]) -> None:
    """Let the project have these of the user's files and no others. Raises not_found for another's, or none."""
    files = Attachment.objects.for_user(project.user_id).filter(pk__in=ids)
    if files.count() < len(set(ids)):
        raise ProtocolError("not_found", "There is no such attachment.", field="attachment_ids")
    dropped = list(project.attachments.exclude(pk__in=ids))
    project.attachments.set(files)
    drop_unused(dropped)


def drop_unused(files: list[Attachment]) -> None:
    """Delete those of these files that no message and no project has."""
    for file in files:
        if not (file.messages.exists() or Project.objects.filter(attachments=file).exists()):
            file.delete()


class Projects(ListView):
    """The user's projects."""

    serializer_class, results_name = ProjectSerializer, "projects"

    @described("projects", {200: ProjectsPageSerializer}, query=PAGED)
    def get(self, request: Request) -> Response:
        """List them by name."""
        projects = Project.objects.for_user(owner(request)).prefetch_related("attachments")
        return self.page(request, projects.order_by("name", "pk"))

    @described("create_project", {201: ProjectSerializer}, NewProjectSerializer)
    def post(self, request: Request) -> Response:
        """Make one without threads."""
        given, user = fields(NewProjectSerializer, request), owner(request)
        files = given.pop("attachment_ids", [])
        if Project.objects.for_user(user).count() >= MAX_PROJECTS:
            raise ProtocolError("conflict", f"There can be {MAX_PROJECTS} projects.")
        with transaction.atomic():
            made = Project.objects.create(user=user, **given)
            attach(made, files)
        return Response(ProjectSerializer(project_of(user, made.pk)).data, status=201)


class OneProject(View):
    """Resource of a project."""

    @described("change_project", {200: ProjectSerializer}, ChangeProjectSerializer)
    def patch(self, request: Request, project_id: UUID) -> Response:
        """Change the name, the instructions or the files. A file that is left out is deleted if no message has it."""
        project, given = project_of(owner(request), project_id), fields(ChangeProjectSerializer, request)
        files = given.pop("attachment_ids", None)
        with transaction.atomic():
            if given:
                Project.objects.filter(pk=project.pk).update(**given)
            if files is not None:
                attach(project, files)
        return Response(ProjectSerializer(project_of(owner(request), project_id)).data)

    @described("delete_project", {204: None})
    def delete(self, request: Request, project_id: UUID) -> Response:
        """Delete the project, and its files that no message has. Its threads stay, in no project."""
        project = project_of(owner(request), project_id)
        files = list(project.attachments.all())
        with transaction.atomic():
            project.delete()
            drop_unused(files)
        return Response(status=204)


class ProjectThread(View):
    """Place of a thread in a project. A thread is in one project at most."""

    @described("put_into_project", {200: ThreadSerializer})
    def put(self, request: Request, project_id: UUID, thread_id: UUID) -> Response:
        """Put the thread into the project, out of any other."""
        user = owner(request)
        runs.move(user.pk, thread_id, project_of(user, project_id).pk)
        return Response(ThreadSerializer(thread_of(user, thread_id)).data)

    @described("take_out_of_project", {200: ThreadSerializer})
    def delete(self, request: Request, project_id: UUID, thread_id: UUID) -> Response:
        """Take the thread out of the project, if it is there."""
        user = owner(request)
        if thread_of(user, thread_id).project_id == project_of(user, project_id).pk:
            runs.move(user.pk, thread_id, None)
        return Response(ThreadSerializer(thread_of(user, thread_id)).data)
