"""Tables that no format declares: a form asks what their columns are, and its answer holds for the next file alike.

The answers are looked up among the user's answered forms, so they live as long as the conversation that has them.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.db.models import TextField
from django.db.models.functions import Cast

from agents.sdk import Declined, Expired, Turn
from agents.usage.figures import escaped
from agents.usage.files import UsageFiles, are_numbers
from chat.db.access import from_database
from chat.models import InputRequest
from chat.protocol import encoded_size, forms
from chat.translation import t
from chat.usage import Choice, Proposal, ProposedColumn
from chat.usage.names import ROLES, TOKENS

MAX_COLUMNS = forms.MAX_PROPERTIES - 2  # beside what a row is, and the currency
MAX_NAMED = 12  # columns in a sentence
_ROW = "row_"  # the property that says what a row is has the id of the header in its name: answers are found by it
_OF_NUMBERS = (
    "cost", "gross", "input_tokens", "uncached_tokens", "output_tokens", "cached_tokens", "cache_write_tokens",
    "requests", "seats", "timestamp", "user",
)  # fmt: skip
_OF_TEXT = (
    "timestamp", "model", "provider", "user", "team", "project", "api_key", "feature", "environment", "status",
    "currency",
)  # fmt: skip


async def settle_tables(turn: Turn, files: UsageFiles, attachment: str, tables: list[Proposal]) -> list[str]:
    """Ask what the columns of the tables in a file are, unless it was said before, and have them read so.

    Returns a sentence for each table whose columns stay unknown.
    """
    unread = []
    kept = await turn.call(kept_answers_for(turn), headers=[table["header"] for table in tables])
    for table in tables:
        answered = kept.get(table["header"])
        choice = (
            chosen(answered["schema"], answered["content"])[0]
            if answered
            else await _ask(turn, files, attachment, table)
        )
        if choice is None:
            names = _listed([one["name"] for one in table["columns"]])
            text = t("The table “{0}” is not read, as it was not said what its columns mean: {1}.")
            unread.append(text.format(escaped(attachment), names))
            continue
        files.choose(table["header"], choice)
    return unread


async def _ask(turn: Turn, files: UsageFiles, attachment: str, table: Proposal) -> Choice | None:
    """Return what the user says of the table; None after a refusal, or where nobody answers."""
    await files.reserve(turn, 1)
    try:
        totals = await turn.call(files.table_totals, attachment=attachment, table=table)
    finally:
        await files.leave()
    schema = table_form(table, totals)
    message = _question(attachment, table, schema, totals)
    while True:
        try:
            content = await turn.ask(message, schema)
        except (Declined, Expired):
            return None
        choice, problem = chosen(schema, content)
        if choice:
            return choice
        for name, value in content.items():
            schema["properties"][name]["default"] = value
        message = " ".join([problem, t("What do the columns of “{0}” mean?", _plain(attachment))])


def table_form(table: Proposal, totals: Mapping[str, str]) -> dict[str, Any]:
    """Return the form about a table: a meaning for each column, what a row is, the currency of the cost.

    `totals`: what a column adds up to if it is the cost, by its name.
    """
    rows = {"sum": t("A sum of several requests"), "request": t("One request")}
    choices = [{"const": row, "title": title} for row, title in rows.items()]
    order = sorted(table["columns"], key=lambda one: (not one["role"], one["name"] not in totals))
    asked = [one for one in table["columns"] if one in order[:MAX_COLUMNS]]
    while True:
        properties: dict[str, Any] = {
            f"column_{number}": _column(one, totals.get(one["name"], "")) for number, one in enumerate(asked, 1)
        }
        properties[_ROW + table["header"]] = {
            "type": "string", "title": t("A row is"), "oneOf": choices, "default": table["row"] or "sum",
        }  # fmt: skip
        properties["currency"] = {"type": "string", "title": t("Currency of the cost, as USD"), "maxLength": 3}
        if table["currency"]:
            properties["currency"]["default"] = table["currency"]
        schema = {"type": "object", "properties": properties}
        if encoded_size(schema) <= forms.MAX_SCHEMA or len(asked) == 1:
            return schema
        asked.remove(next(one for one in reversed(order) if one in asked))


def _column(column: ProposedColumn, total: str) -> dict[str, Any]:
    samples = column["samples"]
    offered = _OF_NUMBERS if are_numbers(samples) else _OF_TEXT
    meanings = dict.fromkeys([*([column["role"]] if column["role"] else []), *(["cost"] if total else []), *offered])
    names = ((role, t(ROLES[role])) for role in ROLES if role in meanings)
    titles = {role: name[:1].upper() + name[1:] for role, name in names}
    if "cost" in titles and total:
        titles["cost"] = t("Cost: adds up to {0}", total)
    choices = [{"const": "", "title": t("Not used")}, *({"const": one, "title": titles[one]} for one in meanings)]  # type: ignore[index]
    return {
        "type": "string", "title": column["name"] or t("Without a name"), "oneOf": choices, "default": column["role"],
        "description": t("For example: {0}", " · ".join(one[:40] for one in samples)) if samples else t("Empty"),
    }  # fmt: skip


def chosen(schema: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[Choice | None, str]:
    """Return how an answered form wants the table to be read; None with the reason where it does not say enough."""
    titles = {name: one["title"] for name, one in schema["properties"].items() if name.startswith("column_")}
    columns = {titles[name]: role for name, role in content.items() if role and name in titles}
    roles = list(columns.values())
    for role in ROLES:
        if roles.count(role) > 1:
            twice = _listed([name for name, one in columns.items() if one == role])
            return None, t("More than one column is the {0}: {1}. Choose one.", t(ROLES[role]), twice)
    if "cost" not in roles and not {*TOKENS} & {*roles}:
        return None, t("Choose the column that is the cost, or those of the tokens.")
    currency = str(content.get("currency", "")).strip().upper()
    if "cost" in roles and "currency" not in roles and not re.fullmatch("[A-Z]{3}", currency):
        return None, t("Say the currency of the cost by its code of three letters.")
    row = next(value for name, value in content.items() if name.startswith(_ROW))
    return {"columns": columns, "row": row, "currency": currency}, ""


def kept_answers_for(turn: Turn) -> Callable[[list[str]], Awaitable[dict[str, Any]]]:
    """Return the tool `kept_answers`, which finds only answers of the turn's user."""
    user_id = int(turn.user_id)

    async def kept_answers(headers: list[str]) -> dict[str, Any]:
        """Return the newest answered form about tables with each of these headers."""
        return await from_database(_kept, user_id, headers)

    return kept_answers


def _kept(user_id: int, headers: list[str]) -> dict[str, Any]:
    forms = InputRequest.objects.for_user(user_id).filter(kind=InputRequest.FORM, status=InputRequest.ACCEPTED)
    answered = forms.annotate(schema_text=Cast("schema", TextField())).order_by("-resolved_at")
    found: dict[str, Any] = {}
    for header in headers:
        rows = answered.filter(schema_text__contains=f'"{_ROW}{header}"')[:5]
        usable = [one for one in rows if one.schema and one.content and chosen(one.schema, one.content)[0]]
        if usable:
            found[header] = {"schema": usable[0].schema, "content": usable[0].content}
    return found


def _question(attachment: str, table: Proposal, schema: Mapping[str, Any], totals: Mapping[str, str]) -> str:
    parts = [t("I do not know this kind of table: “{0}”. What do its columns mean?", _plain(attachment))]
    sums = [t("{0} if “{1}” is the cost", total, _plain(name)) for name, total in totals.items()]
    if sums:
        parts.append(t("The total is {0}.", "; ".join(sums)))
    asked = {one.get("title") for one in schema["properties"].values()}
    left = [one["name"] for one in table["columns"] if one["name"] and one["name"] not in asked]
    if left:
        parts.append(t("Not used: {0}.", _listed(left)))
    parts.append(t("The answer also holds for your next files with these columns."))
    return " ".join(parts)


def _listed(names: list[str]) -> str:
    more = t(" and {0} more", len(names) - MAX_NAMED) if len(names) > MAX_NAMED else ""
    return ", ".join(t("“{0}”", _plain(name)) for name in names[:MAX_NAMED]) + more


def _plain(name: str) -> str:
    return " ".join(name.split())[:60]
