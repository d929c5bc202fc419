"""The write service: the only code that writes threads, messages, runs, input requests, events and workers.

The names here are its interface for `chat.api`, `chat.realtime`, `chat.admin` and the worker. All are synchronous: the
event loop calls them through chat.db.access. A function that writes does so in one transaction of its own, unless its
docstring names the transaction of the caller. A mistake of the user raises ProtocolError, a failure of the database
Django's OperationalError. Wake-ups and events are published on commit, never before. Locks are taken in one order
everywhere: Run, then InputRequest, then Thread, each by id. All times are the database's. The statements of the hot
path are raw SQL for both databases.
"""

from chat.runs.cancel import cancel, cancel_one, expire_runs, fail_unserved, log
from chat.runs.claim import MAX_SCANNED_RUNS, TASK_LENGTH, claim, heartbeat, register, set_run_timer, unregister
from chat.runs.event_log import publish_live
from chat.runs.inputs.answering import (
    answer,
    answer_all,
    answer_of,
    cancel_input,
    expire_inputs,
    input_fields,
    revoke_grant,
)
from chat.runs.inputs.deciders import deciders, tell, visible_to
from chat.runs.inputs.parameters import check_parameters
from chat.runs.inputs.suspension import (
    TooManySteps,
    expiry_of,
    input_seconds,
    keep_step,
    read_input,
    read_inputs,
    read_previous_state,
    read_state,
    read_steps,
    save_state,
    suspend,
    too_many_inputs,
)
from chat.runs.inputs.types import Answer, AnsweredInput, Decider, NewInput, RecordedInput
from chat.runs.queries import (
    active,
    attachment_fields,
    branch,
    history,
    live_workers,
    open_inputs,
    read_shown,
    read_tool_calls,
    unserved_agents,
)
from chat.runs.record import after_commit, insert_messages, lock_runs, log_fields, needs_title, record, record_usage
from chat.runs.start import R, ask_again, regenerate, repeated, rerun, start, start_all
from chat.runs.threads import (
    ChosenAgent,
    agents_for,
    choose_agent,
    copy,
    create_thread,
    delete,
    lock_thread,
    mark,
    move,
    rename,
    show,
)
from chat.runs.types import AnyId, ClaimedRun, History, Origin, RunBatch, RunOutcome, StartedRun, StartRequest, ToolCall

__all__ = [
    "MAX_SCANNED_RUNS",
    "TASK_LENGTH",
    "Answer",
    "AnsweredInput",
    "AnyId",
    "ChosenAgent",
    "ClaimedRun",
    "Decider",
    "History",
    "NewInput",
    "Origin",
    "R",
    "RecordedInput",
    "RunBatch",
    "RunOutcome",
    "StartRequest",
    "StartedRun",
    "TooManySteps",
    "ToolCall",
    "active",
    "after_commit",
    "agents_for",
    "answer",
    "answer_all",
    "answer_of",
    "ask_again",
    "attachment_fields",
    "branch",
    "cancel",
    "cancel_input",
    "cancel_one",
    "check_parameters",
    "choose_agent",
    "claim",
    "copy",
    "create_thread",
    "deciders",
    "delete",
    "expire_inputs",
    "expire_runs",
    "expiry_of",
    "fail_unserved",
    "heartbeat",
    "history",
    "input_fields",
    "input_seconds",
    "insert_messages",
    "keep_step",
    "live_workers",
    "lock_runs",
    "lock_thread",
    "log",
    "log_fields",
    "mark",
    "move",
    "needs_title",
    "open_inputs",
    "publish_live",
    "read_input",
    "read_inputs",
    "read_previous_state",
    "read_shown",
    "read_state",
    "read_steps",
    "read_tool_calls",
    "record",
    "record_usage",
    "regenerate",
    "register",
    "rename",
    "repeated",
    "rerun",
    "revoke_grant",
    "save_state",
    "set_run_timer",
    "show",
    "start",
    "start_all",
    "suspend",
    "tell",
    "too_many_inputs",
    "unregister",
    "unserved_agents",
    "visible_to",
]
