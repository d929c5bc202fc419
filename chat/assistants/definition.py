"""The definition of an assistant, as workers read it from a version. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Rule = Literal["off", "never", "ask", "always"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The rule for calls of one tool, who decides, and whether they may edit the parameters.

    `off`: the tool is not offered. `never`: no approval, unless untrusted content demands it. `ask`: approval, which a
    person may grant for the thread. `always`: approval each time. `definition_hash` is that of the definition for which
    an administrator saved it; empty: for any.
    """

    rule: Rule = "ask"
    decided_by: str = "owner"
    four_eyes: bool = False
    editable: bool = True
    definition_hash: str = ""


# All tools of Netra: no tool of an MCP server is offered under one of these names, whatever is switched on.
OWN_TOOLS = frozenset(
    {
        "attached_files",
        "attached_text",
        "calculator",
        "model_price",
        "thread_search",
        "usage_query",
        "usage_summary",
        "web_fetch",
    }
)

INSTRUCTIONS = """\
You are the assistant of Netra, an application in which people talk to agents. Answer in Markdown, in the language of \
the user, to the point. Compute with the calculator instead of in your head, and look prices of models up instead of \
remembering them. If you do not know something, say so.

Files that the user attached are read with attached_files first; figures about usage data come from the usage tools, \
which count all rows, and are given with the rows and the basis that they are of."""


@dataclass(frozen=True, slots=True)
class Definition:
    """An assistant as a worker executes it. `policies` are those of tools by name, `model` is a name of the catalogue.

    The defaults are those of the first assistant.
    """

    instructions: str = INSTRUCTIONS
    model: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Definition":
        """Return the definition in the content of a version."""
        policies = {
            tool["tool"]: Policy(
                tool["policy"], tool["decided_by"], tool["four_eyes"], tool["editable"], tool["definition_hash"]
            )
            for tool in content["tools"]
        }
        return cls(content["instructions"], content["model"], content["options"], policies)
