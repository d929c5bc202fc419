"""The form of a log line: one JSON object, or with NETRA_LOG_FORMAT=text a line for a terminal.

Every logger of the process uses it. The origin of a line, as far as it is known (`user_id`, `thread_id`, `run_id`,
`attempt`, `connection_id`) is in the context of the task that writes it, or given with the line.
"""

import re
import sys
import traceback
from collections.abc import Iterator
from logging import Formatter

from structlog import contextvars, dev, processors, stdlib
from structlog.typing import EventDict, Processor, WrappedLogger


def formatter(form: str) -> Formatter:
    """`form` is json or text."""
    known: list[Processor] = [
        contextvars.merge_contextvars,
        stdlib.add_log_level,
        stdlib.add_logger_name,
        stdlib.ExtraAdder(),
        without_request,
        without_refused_trace,
        without_links,
        processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    last: list[Processor]
    if form == "text":
        last = [
            dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="at", exception_formatter=dev.plain_traceback)
        ]
    else:
        last = [without_words, processors.JSONRenderer()]
    shown = [stdlib.ProcessorFormatter.remove_processors_meta, *last]
    return stdlib.ProcessorFormatter(foreign_pre_chain=known, processors=shown)


def without_request(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Django gives the whole request, of which the query string would be shown: what somebody looks for."""
    event.pop("request", None)
    return event


def without_refused_trace(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Django logs a traceback for each request that it refuses: any client could fill the log with them."""
    if event["logger"].startswith("django.security."):
        event.pop("exc_info", None)
    return event


def without_links(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Cut the end of a link to a shared conversation: who has it may read."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = re.sub(r"/s/[^\s/?#\"']+", "/s/*", value)
    return event


def without_words(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Reduce an exception to its kinds and places: its text may quote a user, an address or a key."""
    info = event.pop("exc_info", None)
    if isinstance(info, tuple) and info[1] is not None:
        event["exception"] = "".join(_traced(info[1]))
    return event


def _traced(error: BaseException) -> Iterator[str]:
    """Yield the lines of a traceback, the cause first as Python prints it."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _traced(before)
        yield "then\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__module__}.{type(error).__qualname__}\n"
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _traced(one)
