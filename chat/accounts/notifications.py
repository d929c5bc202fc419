"""Mail about input requests that wait for somebody.

A user gets one mail about all requests that became due since the last one, and at most one in NETRA_INPUT_MAIL_SECONDS.
A request is due after that time, and once more an hour before it expires. The mail has the message and a link to the
page, where answering needs a sign-in: no parameters, no values, and no link that decides.
"""

import logging
import threading
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from smtplib import SMTPDataError, SMTPException, SMTPRecipientsRefused
from typing import Any

from django.conf import settings
from django.core import mail
from django.db import Error, connection
from django.db.models import Q
from django.db.models.functions import Now
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext

from chat import runs
from chat.db.access import error_name
from chat.languages import language_of
from chat.models import InputRequest, User

log = logging.getLogger("netra.mail")
REMINDER = timedelta(hours=1)  # before the expiry
OVERDUE = timedelta(days=1)  # for which a mail that could not be sent is tried again
MAX_PERIOD = 10.0  # seconds between two looks
MAX_DUE = 5000  # requests of one look
MAX_SHOWN = 10  # requests of one mail
MAX_MESSAGE = 300  # characters of a request's message


@dataclass(frozen=True, slots=True)
class Notice:
    """A mail to a user. `before` is the time of the user's last mail before it, `at` its own."""

    user: User
    requests: list[InputRequest]
    before: datetime | None
    at: datetime


def run(stop: threading.Event) -> None:
    """Send mail as it becomes due, until `stop` is set. Return at once without NETRA_EMAIL_URL."""
    while settings.NETRA_EMAIL_URL and not stop.wait(min(MAX_PERIOD, settings.NETRA_INPUT_MAIL_SECONDS)):
        try:
            send_due()
        except Error as error:
            log.warning("database: %s; mail is sent later", error_name(error))
            connection.close()


def send_due() -> int:
    """Send the mail that is due. Return the number of mails."""
    sent = 0
    for user_id, requests in _due().items():
        notice = _take(user_id, requests)
        if notice is None:
            continue
        try:
            _mail_of(notice).send()
            sent += 1
        except (SMTPRecipientsRefused, SMTPDataError, ValueError) as error:  # of this mail: others must not wait for it
            log.warning("a mail is refused: %s", type(error).__name__, extra={"user_id": user_id})
        except (SMTPException, OSError) as error:  # the text of the error may have the address
            log.warning("a mail could not be sent: %s", type(error).__name__, extra={"user_id": user_id})
            User.objects.filter(pk=user_id, input_mail_at=notice.at).update(input_mail_at=notice.before)
            break  # the server is tried again at the next look
    return sent


def _due() -> dict[int, list[Any]]:
    """Return the open requests that are due, by the users who may decide them and get mail."""
    wait = timedelta(seconds=settings.NETRA_INPUT_MAIL_SECONDS)
    lately = Q(created_at__gt=Now() - wait - OVERDUE) | Q(expires_at__lt=Now() + REMINDER)
    asks = Q(user__input_mail="all") | ~Q(decided_by="owner")
    opened = InputRequest.objects.filter(status=InputRequest.OPEN, thread__deleted_at=None, expires_at__gt=Now())
    rows = opened.filter(lately, asks, created_at__lte=Now() - wait).annotate(now=Now()).select_related("user")
    users: dict[tuple[str, int, bool], list[int]] = {}
    found: dict[int, list[Any]] = {}
    for row in rows.order_by("created_at", "pk")[:MAX_DUE]:
        deciding = (row.decided_by, row.user_id, row.four_eyes)
        if deciding not in users:
            wants = ["all"] if row.decided_by == "owner" else ["all", "others"]
            users[deciding] = list(runs.deciders(row).filter(input_mail__in=wants).values_list("pk", flat=True))
        for user_id in users[deciding]:
            found.setdefault(user_id, []).append(row)
    return found


def _take(user_id: int, requests: Iterable[Any]) -> Notice | None:
    """Mark that the user gets a mail now. Return None if nothing is new, another worker sends it, or nobody is left."""
    user = User.objects.annotate(now=Now()).filter(pk=user_id).first()
    if user is None:
        return None
    before, at = user.input_mail_at, user.now
    wait = timedelta(seconds=settings.NETRA_INPUT_MAIL_SECONDS)
    if before is not None and at - before < wait:
        return None
    new = [row for row in requests if _became_due(row, wait, before, at)]
    taken = User.objects.filter(Q(input_mail_at=before) if before else Q(input_mail_at=None), pk=user_id)
    return Notice(user, new, before, at) if new and taken.update(input_mail_at=at) else None


def _became_due(row: Any, wait: timedelta, before: datetime | None, at: datetime) -> bool:
    first, reminder = row.created_at + wait, row.expires_at - REMINDER
    moments = [first, reminder] if reminder > first else [first]
    return any((before is None or moment > before) and moment <= at for moment in moments)


def _mail_of(notice: Notice) -> mail.EmailMessage:
    site = f"{settings.ALLOWED_ORIGINS[0]}{settings.NETRA_BASE_PATH}"
    count = len(notice.requests)
    shown = [
        {
            "message": _one_line(row.message),
            "agent": _one_line(row.agent_name),
            "asker": "" if row.user_id == notice.user.pk else _one_line(row.user.name or row.user.email),
            "expires_at": f"{row.expires_at:%Y-%m-%d %H:%M} UTC",
            "url": f"{site}/c/{row.thread_id}" if row.user_id == notice.user.pk else f"{site}/inputs",
        }
        for row in notice.requests[:MAX_SHOWN]
    ]
    values = {"requests": shown, "more": count - len(shown), "site": site}
    with translation.override(language_of(notice.user)):
        subject = gettext("A request waits for you in Netra")
        if count > 1:
            subject = gettext("%(count)s requests wait for you in Netra") % {"count": count}
        text = render_to_string("chat/inputs_email.txt", values)
    return mail.EmailMessage(subject, text, to=[notice.user.email], headers={"Auto-Submitted": "auto-generated"})


def _one_line(text: str) -> str:
    """Return the text in one line, without controls and characters that are not seen, and at most MAX_MESSAGE long."""
    line = " ".join("".join(c for c in text if unicodedata.category(c) != "Cf").split())
    line = "".join(c for c in line if unicodedata.category(c) != "Cc")
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1].rstrip() + "…"
