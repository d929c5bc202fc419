"""Search in a user's threads: which of them hold all words, and where."""

import re
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import and_, or_
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery, UUIDField

from chat.db.search import candidates
from chat.models import Message, MessageText, Thread

MAX_WORDS = 8  # each looks through all messages of the user; what follows them counts as one with the last
BEFORE_CHARACTERS, AFTER_CHARACTERS = 40, 120  # shown of a message around the first word in it


def words_of(query: str) -> list[str]:
    """Return the words of a query; what stands between quotation marks is one."""
    words = [phrase or word for phrase, word in re.findall(r'"([^"]+)"|(\S+)', query)]
    return [*words[: MAX_WORDS - 1], " ".join(words[MAX_WORDS - 1 :])] if len(words) > MAX_WORDS else words


def holding(threads: QuerySet[Thread], words: Sequence[str]) -> QuerySet[Thread]:
    """Return those of the threads that have each word in their title or in one of their messages."""
    return threads.filter(reduce(and_, (Q(title__contains_folded=word) | _saying(word) for word in words)))


def _saying(word: str) -> Q | Exists:
    """Return the condition that a thread has the word in one of its messages."""
    texts, ids = MessageText.objects.filter(folded__holds=word), candidates(word)
    if ids is None:
        return Exists(texts.filter(thread=OuterRef("pk")))
    return Q(pk__in=texts.filter(pk__in=ids).values("thread"))


def matches(ids: Iterable[UUID], words: Sequence[str]) -> dict[UUID, dict[str, Any]]:
    """Return for each of the threads its newest message with one of the words, cut to what stands around it."""
    held = reduce(or_, (Q(folded__holds=word) for word in words))
    texts = MessageText.objects.filter(held, thread=OuterRef("pk")).order_by("-message__seq")
    newest = Subquery(texts.values("message")[:1], output_field=UUIDField())
    found = dict(Thread.objects.filter(pk__in=ids).annotate(found=newest).values_list("found", "pk"))
    messages = Message.objects.filter(pk__in=[pk for pk in found if pk]).values_list("pk", "content")
    return {found[pk]: {"message_id": str(pk), **excerpt(content, words)} for pk, content in messages}


def excerpt(content: str, words: Sequence[str]) -> dict[str, str]:
    """Return the first of the words in a text and what stands around it on one line.

    `text` is empty where no word is found letter by letter, as with one that is written in other forms.
    """
    line = " ".join(content.split())
    pattern = "|".join(re.escape(" ".join(word.split())) for word in words)
    found = re.search(pattern, line, re.IGNORECASE)
    start, end = found.span() if found else (0, 0)
    before, after = line[max(0, start - BEFORE_CHARACTERS) : start], line[end : end + AFTER_CHARACTERS]
    return {
        "before": f"…{before}" if start > BEFORE_CHARACTERS else before,
        "text": line[start:end],
        "after": f"{after}…" if len(line) > end + AFTER_CHARACTERS else after,
    }
