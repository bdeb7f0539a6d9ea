"""What a tool of an MCP server answered, as text for the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from agentdeck.workflow.model import Data


class ToolResult(NamedTuple):
    """What a tool answered; `wrong` when the tool says that it failed."""

    text: str
    wrong: bool


def result_of(result: Mapping[str, Data]) -> ToolResult:
    parts = [_block(block) for block in result.get("content") or ()]
    if not parts and result.get("structuredContent") is not None:
        parts = [json.dumps(result["structuredContent"], ensure_ascii=False)]
    return ToolResult("\n".join(parts), bool(result.get("isError")))


def _block(block: Mapping[str, Data]) -> str:
    """One part of an answer: text as it is, anything else in a line that says what it was."""
    match block.get("type"):
        case "text":
            return str(block.get("text") or "")
        case "resource":
            resource = block.get("resource") or {}
            if resource.get("text") is not None:
                return str(resource["text"])
            return f"[resource {resource.get('uri')}{_kind_and_size(resource, 'blob')}]"
        case "resource_link":
            about = block.get("description") or block.get("title") or block.get("name") or ""
            return f"[link to {block.get('uri')}{_kind_and_size(block)}{f': {about}' if about else ''}]"
        case kind:
            return f"[{kind}{_kind_and_size(block, 'data')}]"


def _kind_and_size(block: Mapping[str, Data], data: str = "") -> str:
    parts = [block["mimeType"]] if block.get("mimeType") else []
    if data and isinstance(block.get(data), str):
        parts.append(f"{len(block[data]) * 3 // 4:,} bytes")
    elif isinstance(block.get("size"), int):
        parts.append(f"{block['size']:,} bytes")
    return f" ({', '.join(parts)})" if parts else ""
