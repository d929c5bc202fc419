"""An agent's Markdown as HTML that is safe to serve: markdown-it makes it, nh3 agrees to it or drops it.

Raw HTML is shown as text, an image as its address, and links lead to web pages and mail addresses only. The page's own
scripts (chat/pages/static/chat/markdown) show the same text with more: formulas and colours of code.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

_MAX_NESTING = 16  # quotes and lists; what is nested deeper stays out
_ADDRESS = re.compile(r"(https?://|mailto:)", re.IGNORECASE)
_FOLD = re.compile(r"<details(?: open)?>\s*<summary>([^<]{1,200})</summary>", re.IGNORECASE)
_TAG = re.compile(r"<(sub|sup|kbd|mark)>([^<>\n]{1,200})</\1>", re.IGNORECASE)
_BREAK = re.compile(r"<br\s{0,9}/?>", re.IGNORECASE)
_DIRECTED = {"paragraph_open", "heading_open", "bullet_list_open", "ordered_list_open"}

_TAGS = {
    "a", "blockquote", "br", "code", "details", "div", "em", "h3", "h4", "h5", "h6", "hr", "kbd", "li", "mark", "ol",
    "p", "pre", "s", "strong", "sub", "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_ATTRIBUTES = {
    "a": {"href", "title"},
    "code": {"class"},
    "div": {"class", "tabindex"},
    "ol": {"start", "dir"},
    **{tag: {"dir"} for tag in ("p", "h3", "h4", "h5", "h6", "ul")},
    **{tag: {"align", "dir"} for tag in ("td", "th")},
}


class _Renderer(RendererHTML):
    """Writes headings below those of the page, tables that scroll, and no style attributes."""

    def renderToken(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:  # noqa: N802
        """Return the HTML of one token."""
        token = tokens[idx]
        if token.type in _DIRECTED:
            token.attrSet("dir", "auto")
        if token.type in ("th_open", "td_open"):
            side = re.fullmatch(r"text-align:(\w+)", str(token.attrGet("style") or ""))
            token.attrs = {"dir": "auto", **({"align": side[1]} if side else {})}
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
        html = super().renderToken(tokens, idx, options, env)
        if token.type == "table_open":
            return f'<div class="tabular"><div class="table" tabindex="0">{html}'
        return f"{html}</div></div>" if token.type == "table_close" else html


def _fold(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Read `<details>`, `<summary>Title</summary>`, blocks and `</details>` on a line of its own."""

    def line(at: int) -> str:
        return state.src[state.bMarks[at] + state.tShift[at] : state.eMarks[at]].strip()

    if state.level > 0 or not line(start).lower().startswith("<details"):
        return False
    alone = "<summary>" not in line(start).lower()
    title = _FOLD.fullmatch(line(start) + (line(start + 1) if alone and start + 1 < end else ""))
    if title is None:
        return False
    if silent:
        return True
    first = last = start + 1 + alone
    while last < end and line(last).lower() != "</details>":
        last += 1
    state.push("fold_open", "details", 1)
    state.push("summary_open", "summary", 1)
    text = state.push("inline", "", 0)
    text.content, text.children = title[1], []
    state.push("summary_close", "summary", -1)
    whole, state.lineMax = state.lineMax, last
    state.md.block.tokenize(state, first, last)
    state.lineMax = whole
    state.push("fold_close", "details", -1)
    state.line = min(last + 1, end)
    return True


def _inline(state: StateInline, silent: bool) -> bool:
    """Read a line break in a cell, and tags around plain text that Markdown has no sign for."""
    if state.src[state.pos] != "<":
        return False
    found = _BREAK.match(state.src, state.pos) or _TAG.match(state.src, state.pos)
    if found is None:
        return False
    if not silent and not found.re.groups:
        state.push("hardbreak", "br", 0)
    elif not silent:
        tag = found[1].lower()
        state.push(f"{tag}_open", tag, 1)
        state.push("text", "", 0).content = found[2]
        state.push(f"{tag}_close", tag, -1)
    state.pos = found.end()
    return True


def _reader() -> MarkdownIt:
    md = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": _MAX_NESTING}, renderer_cls=_Renderer)
    md.enable(["table", "strikethrough"]).disable("image")
    md.block.ruler.before("table", "fold", _fold)
    md.inline.ruler.before("autolink", "tag", _inline)
    md.validateLink = lambda url: bool(_ADDRESS.match(url))  # type: ignore[method-assign]
    return md


_MD = _reader()


# Who reads a link reads what others read, and a text of many marks takes a second for each 50,000 characters.
@lru_cache(maxsize=32)
def html(text: str) -> str:
    """Return the HTML of a Markdown text. It has no script, no style, no image and no address of this site."""
    env: dict[str, Any] = {}
    return nh3.clean(
        _MD.render(text, env),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow noreferrer",
    )
