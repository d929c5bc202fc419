"""The admin's overview, its sections, the page of a conversation, and its language."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin as django_admin
from django.contrib.auth.models import Permission
from django.db.models import F
from django.utils import timezone, translation

from chat import runs
from chat.dashboard import figures, names
from chat.models import Feedback, Message, Run, User
from tests.factories import claim_one, completed, message

GERMAN = {"HTTP_ACCEPT_LANGUAGE": "de"}
# Words that are the same in German.
SAME = {
    "Name", "name", "Status", "status", "Agent", "agent", "Worker", "worker", "workers", "Workers", "Sockets", "Schema",
    "Definition", "Token", "token", "frame", "server", "Parameter", "Link", "link", "claims", "ID", "id",
    "temperature, top_p, max_tokens", "password", "model",
}  # fmt: skip


@pytest.fixture
def desk(client: Any, db: None) -> Any:
    client.force_login(User.objects.create_superuser("admin@example.com", "correct horse battery"))
    return client


@pytest.fixture
def answered(alice: User) -> Run:
    accepted = runs.start(alice.id, message("What do I <b>pay</b>?"))
    runs.record([completed(claim_one(), "Too **much**.")])
    return Run.objects.get(pk=accepted.run_id)


def clerk(client: Any, *rights: str) -> Any:
    """Sign in staff with these rights."""
    user = User.objects.create_user("clerk@example.com", "correct horse battery", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    client.force_login(user)
    return client


def make_run(like: Run, days: float, seconds: float, **fields: Any) -> None:
    made = Run.objects.create(
        user=like.user, thread=like.thread, message=like.message, request_hash="", agent="advisor", thread_seq=1,
        **{"status": Run.COMPLETED, **fields},
    )  # fmt: skip
    at = timezone.now() - timedelta(days=days)
    Run.objects.filter(pk=made.pk).update(created_at=at, finished_at=at + timedelta(seconds=seconds))


def test_overview_counts_runs_failures_durations_costs_and_ratings_by_day(answered):
    Run.objects.filter(pk=answered.pk).delete()
    answered = Run(user=answered.user, thread=answered.thread, message=Message.objects.filter(role="user").get())
    for second in range(1, 101):
        make_run(answered, 1, second, usage={"model": "gpt-4o", "cost_usd": 0.01})
    make_run(answered, 1, 500, status=Run.FAILED)
    make_run(answered, figures.DAYS + 1, 500)
    yesterday, today = figures.days()[-2:]
    assert (yesterday.runs, yesterday.failed, yesterday.p95) == (101, 1, 95.0)
    assert round(yesterday.cost, 6) == 1.0
    assert (today.runs, today.p95, today.cost) == (0, None, 0)
    assert len(figures.days()) == figures.DAYS


def test_overview_shows_figures_to_staff_who_may_see_runs_alone(client, desk, answered, django_assert_max_num_queries):
    answer = Message.objects.get(run=answered)
    Feedback.objects.create(message=answer, user=answered.user, run=answered, agent="advisor", rating=-1)
    with django_assert_max_num_queries(12):
        page = desk.get("/admin/").content.decode()
    for chart in ("Runs<strong>1</strong>", "Failed<strong>0</strong>", "Feedback<strong>+0 −1</strong>"):
        assert chart in page
    assert page.count('<svg viewBox="0 0 280 64"') == 5
    assert not re.search(r" style=| on\w+=|<script(?![^>]*\bsrc=)", page), "the policy allows none of these"
    assert "95th percentile" not in clerk(client, "view_thread").get("/admin/").content.decode()


def test_percentile_is_a_value_that_was_measured():
    assert figures.percentile([], 0.95) is None
    assert figures.percentile([3.0], 0.95) == 3.0
    assert figures.percentile([5.0, 1.0, 4.0, 2.0, 3.0], 0.5) == 3.0


def test_models_stand_in_sections_and_tokens_are_not_offered(desk):
    page = desk.get("/admin/").content.decode()
    sections = re.findall(r'class="section"[^>]*>\s*([^<]+?)\s*<', page)
    assert sections == ["Conversations", "Agents", "People", "Audit"]
    assert "lacklisted" not in page and "utstanding" not in page
    assert "<title>Overview · Netra</title>" in page and "Django" not in page


def test_page_of_a_thread_shows_its_conversation_and_runs(desk, answered):
    page = desk.get(f"/admin/chat/thread/{answered.thread_id}/change/").content.decode()
    assert "What do I &lt;b&gt;pay&lt;/b&gt;?" in page and "Too **much**." in page
    assert page.index("What do I") < page.index("Too **much**.")
    assert f"/admin/chat/run/{answered.pk}/change/" in page


def test_page_of_a_thread_has_no_words_for_staff_who_may_not_see_messages(client, answered):
    path = f"/admin/chat/thread/{answered.thread_id}/change/"
    page = clerk(client, "view_thread").get(path).content.decode()
    assert answered.user.email in page
    assert "Too **much**." not in page and f"/admin/chat/run/{answered.pk}/" not in page
    client.force_login(answered.user)
    assert client.get(path).status_code == 302


def test_ids_are_short_and_lead_to_what_they_name(desk, answered):
    id = str(answered.pk)
    page = desk.get("/admin/chat/run/").content.decode()
    assert f'<code title="{id}" data-id="{id}">{id[:8]}</code>' in page
    page = desk.get("/admin/chat/event/").content.decode()
    thread = str(answered.thread_id)
    assert (
        f'<a href="/admin/chat/thread/{thread}/change/"><code title="{thread}" data-id="{thread}">{thread[:8]}' in page
    )
    assert f'<a href="/admin/chat/run/{id}/change/">' in page


def test_runs_and_threads_are_filtered_by_user_and_date(desk, answered):
    Run.objects.update(created_at=F("created_at") - timedelta(days=40))
    week = (timezone.now() - timedelta(days=7)).isoformat()
    assert "0 results" in desk.get("/admin/chat/run/", {"created_at__gte": week}).content.decode()
    assert "0 results" in desk.get("/admin/chat/thread/", {"updated_at__lt": week}).content.decode()
    assert "1 result" in desk.get("/admin/chat/run/", {"user": answered.user.email}).content.decode()
    assert "0 results" in desk.get("/admin/chat/run/", {"user": "bob@example.com"}).content.decode()


def test_live_page_says_in_words_what_a_run_does(desk, alice):
    runs.start(alice.id, message("x"))
    claim_one()
    assert "<td>begins</td>" in desk.get("/admin/chat/run/live/").content.decode()


def test_every_name_of_the_admin_is_german_for_germans():
    with translation.override("de"):
        texts = set(names.texts(apps.get_app_config("chat").get_models()))
    with translation.override("de"):
        left = {text for text in texts if translation.gettext(text) == text}
    assert left <= SAME


def test_admin_is_german_throughout(client, desk, answered):
    for model in filter(django_admin.site.is_registered, apps.get_app_config("chat").get_models()):
        options = model._meta
        with translation.override("de"):
            name = str(options.verbose_name_plural)
        answer = desk.get(f"/admin/chat/{options.model_name}/", **GERMAN)
        assert answer.headers["Content-Language"] == "de"
        page = answer.content.decode()
        assert name[:1].upper() + name[1:] in page and '<html lang="de"' in page
    page = desk.get("/admin/", **GERMAN).content.decode()
    for word in ("Übersicht", "Durchläufe<strong>1</strong>", "95. Perzentil der Dauer", "Nach Tagen", "Personen"):
        assert word in page
    page = desk.get("/admin/chat/run/", **GERMAN).content.decode()
    for word in ("Abbrechen", "Erneut ausführen", "abgeschlossen", "Fehlercode"):
        assert word in page
    assert "Id kopieren" in page
    page = desk.get(f"/admin/chat/user/{answered.user_id}/change/", **GERMAN).content.decode()
    for word in ("Anmeldewege", "Mails zu Rückfragen", "Berechtigungen", "Passwort zurücksetzen"):
        assert word in page
    done = {"action": "sign_out", "_selected_action": [str(answered.user_id)]}
    assert "Abgemeldet: 1." in desk.post("/admin/chat/user/", done, follow=True, **GERMAN).content.decode()
    assert "Diese Seite" not in desk.get("/admin/", HTTP_ACCEPT_LANGUAGE="en").content.decode()
    client.logout()
    assert "Anmelden" in client.get("/admin/login/", **GERMAN).content.decode()
