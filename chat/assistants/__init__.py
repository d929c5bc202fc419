"""Assistants: agents that administrators define as rows of the database. This package is pure; its modules are not."""

from chat.assistants.definition import OWN_TOOLS, Definition, Policy, Rule

__all__ = ["OWN_TOOLS", "Definition", "Policy", "Rule"]
