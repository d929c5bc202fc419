"""Tools and results of MCP servers in a form that every model provider accepts. No input or output."""

import json
import logging
from dataclasses import dataclass
from typing import Any

from mcp import types
from pydantic_ai import ToolDefinition, ToolFailed

from agents.sdk import tools
from agents.toolbox.schemas import safe_name, safe_schema

log = logging.getLogger(__name__)


MAX_TOOLS = 100  # in one request: OpenAI accepts 128, and the assistant adds its own


_MAX_RESULT_CHARACTERS = 100_000  # a longer result is refused: it would fill the model's context


_MAX_DESCRIPTION_CHARACTERS = 1_024  # the limit of OpenAI


@dataclass(frozen=True)
class ServerTool:
    """A tool of a server. `own_name` is its name there; `renamed` maps offered property names to the server's."""

    own_name: str
    definition: ToolDefinition
    renamed: dict[str, str]


def safe_tools(server: str, listed: list[Any], taken: frozenset[str]) -> list[ServerTool]:
    """Return the tools that every provider accepts. Each other tool is left out with a warning in the log."""
    found: dict[str, ServerTool] = {}
    for entry in listed:
        try:
            tool = _safe_tool(server, tools.jsonable(entry, "tool"), taken)
            if tool is not None and tool.definition.name in found:
                raise ValueError("another tool has its name")
        except (TypeError, ValueError, RecursionError) as error:
            own_name = entry.get("name") if isinstance(entry, dict) else None
            log.warning("mcp %s: the tool %.100r is left out: %s", server, own_name, error)
        else:
            if tool is not None:
                found[tool.definition.name] = tool
    if len(found) > MAX_TOOLS:
        log.warning("mcp %s: %d tools are more than the %d that are offered", server, len(found), MAX_TOOLS)
    return list(found.values())


def _safe_tool(server: str, entry: Any, taken: frozenset[str]) -> ServerTool | None:
    """Return the tool, None if it is not meant for models. Raises ValueError, with the reason, if it is not usable."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].strip():
        raise ValueError("it has no name")
    match entry.get("_meta"):
        case {"ui": {"visibility": list(audience)}} if "model" not in audience:
            return None
    schema = safe_schema(entry.get("inputSchema"))
    if schema is None:
        raise ValueError("its input schema is no object, or too long")
    hints = entry.get("annotations")
    hints = hints if isinstance(hints, dict) else {}
    texts = (entry.get("description"), entry.get("title"), hints.get("title"), entry["name"])
    description = next(text.strip() for text in texts if isinstance(text, str) and text.strip())
    if len(description) > _MAX_DESCRIPTION_CHARACTERS:
        description = f"{description[: _MAX_DESCRIPTION_CHARACTERS - 1]}…"
    definition = ToolDefinition(
        name=safe_name(f"{server}_{entry['name']}", taken),
        description=description,
        parameters_json_schema=schema[0],
        metadata={
            "annotations": {name: hints.get(name) is True for name in ("readOnlyHint", "destructiveHint")},
            "own_name": entry["name"],
        },
    )
    return ServerTool(entry["name"], definition, schema[1])


_ASKS = "The server asks a question before it answers, and a question of a server cannot be answered here."


def asks_of(result: dict[str, Any]) -> dict[str, Any] | None:
    """Return the questions in a result, None for a result proper. Their keys are those of InputRequiredResult."""
    if result.get("resultType") != "input_required" and "inputRequests" not in result:
        return None
    requests, state = result.get("inputRequests"), result.get("requestState")
    return {
        "inputRequests": requests if isinstance(requests, dict) else {},
        "requestState": state if isinstance(state, str) else None,
    }


def safe_result(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result of text blocks, with its structured content if all its blocks are text."""
    if asks_of(result) is not None:
        return {"content": [{"type": "text", "text": _ASKS}], "isError": True, "resultType": "complete"}
    content = result.get("content")
    blocks = content if isinstance(content, list) else [] if content is None else [content]
    structured = result.get("structuredContent")
    safe: dict[str, Any] = {
        "content": [{"type": "text", "text": tools.clean(_text_of(block))} for block in blocks],
        "isError": result.get("isError") is True,
    }
    only_text = all(isinstance(block, dict) and block.get("type") == "text" for block in blocks)
    if structured is not None and only_text:
        safe["structuredContent"] = structured if isinstance(structured, dict) else {"result": structured}
    if "resultType" in result:
        safe["resultType"] = result["resultType"]
    return safe


def _text_of(block: Any) -> str:
    """Return a block of a result as text. A picture, a sound or a file becomes its type and its size."""
    match block:
        case str():
            return block
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image" | "audio", "data": str(data)}:
            return f"[{block.get('mimeType') or block['type']}, {len(data.rstrip('=')) * 3 // 4} bytes, not shown]"
        case {"type": "resource", "resource": {"text": str(text)}}:
            return text
        case {"type": "resource", "resource": {"blob": str(data)} as file}:
            kind = file.get("mimeType") or "application/octet-stream"
            return f"[{kind}, {len(data.rstrip('=')) * 3 // 4} bytes, not shown]"
        case {"type": "resource_link", "uri": str(uri)}:
            return f"[{block.get('title') or block.get('name') or 'A resource'}: {uri}]"
    return "[A part of the result that cannot be read]"


def result_data(result: types.CallToolResult) -> Any:
    """Return the value for the model. Raises ToolFailed for an error of the tool and for a result that is too long."""
    texts = [block.text for block in result.content if isinstance(block, types.TextContent)]
    if result.is_error:
        text = "\n".join(texts) or json.dumps(result.structured_content or "")
        raise ToolFailed(text[:2000] if text.strip('" \n') else "The tool failed and did not say why.")
    value: Any = texts[0] if len(texts) == 1 else texts or "The tool returned nothing."
    if (structured := result.structured_content) is not None:
        value = structured["result"] if set(structured) == {"result"} else structured
    if len(str(value)) > _MAX_RESULT_CHARACTERS:
        raise ToolFailed(f"The result is longer than {_MAX_RESULT_CHARACTERS} characters. Ask for less.")
    try:
        return tools.jsonable(value, "result")
    except TypeError:
        if texts:
            return texts[0] if len(texts) == 1 else texts
        raise ToolFailed("The result is not valid JSON.") from None
