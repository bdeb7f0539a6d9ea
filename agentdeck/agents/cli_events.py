"""What coding agents print while they work, one JSON object per line: read for the log, the result and the usage.

Each family has its own events. Those that are not known are passed on to the log as they are: new versions add
some."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from agentdeck.scheduler.events import Usage
from agentdeck.workflow.model import Data

Event = Mapping[str, Any]


class CliEnd(NamedTuple):
    """The last event of a coding agent: its answer, or its error; `status` is that of the model's server, where
    the event says it."""

    text: str
    usage: Usage | None = None
    error: str = ""
    status: int | None = None


class CliReport(Protocol):
    """Takes what a coding agent does: pieces of text, calls of tools and their results, notes, and its end."""

    def text(self, piece: str) -> None: ...

    def call(self, tool: str, arguments: Data) -> None: ...

    def answer(self, tool: str, text: str, wrong: bool) -> None: ...

    def note(self, text: str) -> None: ...

    def end(self, end: CliEnd) -> None: ...


#: Reads one event; False: it is not known.
Reader = Callable[[Event, CliReport], bool]


class ClaudeEvents:
    """Events of Claude Code, `--output-format stream-json --include-partial-messages`."""

    def __init__(self) -> None:
        self._tools: dict[str, str] = {}  # by the id of a call

    def __call__(self, event: Event, report: CliReport) -> bool:
        match event:
            case {"type": "system", "subtype": "api_retry"}:
                why = event.get("error_status") or event.get("error")
                report.note(f"asks again after {why}: {event.get('attempt')} of {event.get('max_retries')}")
            case {"type": "system"}:
                pass
            case {"type": "stream_event", "event": {"delta": {"type": "text_delta", "text": str(text)}}}:
                report.text(text)
            case {"type": "stream_event", "event": {"type": "message_stop"}}:
                report.text("\n")
            case {"type": "stream_event"}:
                report.text("")
            case {"type": "assistant" | "user" as role, "message": {"content": list(parts)}}:
                for part in parts:
                    self._part(role, part, report)
            case {"type": "result"}:
                report.end(_end_of_claude(event))
            case _:
                return False
        return True

    def _part(self, role: str, part: Any, report: CliReport) -> None:
        match part:
            case {"type": "tool_use", "id": str(id_), "name": str(name)} if role == "assistant":
                self._tools[id_] = name
                report.call(name, part.get("input"))
            case {"type": "tool_result", "tool_use_id": str(id_)} if role == "user":
                tool = self._tools.pop(id_, "tool")
                report.answer(tool, _text_of(part.get("content")), part.get("is_error") is True)


def _end_of_claude(event: Event) -> CliEnd:
    said = _map(event.get("usage"))
    fresh, cached, written = (
        _count(said.get(name))
        for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )
    tokens_in = None if fresh is None else fresh + (cached or 0) + (written or 0)
    usd = event.get("total_cost_usd")
    usage = Usage(
        tokens_in,
        _count(said.get("output_tokens")),
        cached,
        float(usd) if isinstance(usd, int | float) else None,
        model=next(iter(_map(event.get("modelUsage"))), ""),
    )
    text, status = str(event.get("result") or ""), event.get("api_error_status")
    if event.get("is_error") is not False:  # `subtype` says success also where it is not
        error = text or str(event.get("subtype") or "it does not say why")
        return CliEnd(text, usage, error, status if isinstance(status, int) else None)
    return CliEnd(text, usage)


class CodexEvents:
    """Events of Codex, `exec --json`."""

    def __init__(self) -> None:
        self._answer = ""

    def __call__(self, event: Event, report: CliReport) -> bool:
        match event:
            case {"type": "thread.started" | "turn.started" | "item.updated"}:
                report.text("")
            case {"type": "item.started", "item": {"type": str(kind)} as item}:
                self._started(kind, item, report)
            case {"type": "item.completed", "item": {"type": str(kind)} as item}:
                return self._completed(kind, item, report)
            case {"type": "turn.completed"}:
                report.end(CliEnd(self._answer, _usage(event.get("usage"), "cached_input_tokens")))
            case {"type": "turn.failed"}:
                message = _map(event.get("error")).get("message")
                report.end(CliEnd(self._answer, None, str(message or "it does not say why")))
            case {"type": "error", "message": message}:
                report.note(str(message))
            case _:
                return False
        return True

    def _started(self, kind: str, item: Event, report: CliReport) -> None:
        match kind:
            case "command_execution":
                report.call("shell", item.get("command"))
            case "mcp_tool_call":
                report.call(f"{item.get('server')}/{item.get('tool')}", item.get("arguments"))

    def _completed(self, kind: str, item: Event, report: CliReport) -> bool:
        match kind:
            case "agent_message":
                self._answer = str(item.get("text") or "")
                report.text(f"{self._answer}\n")
            case "reasoning":
                report.note(str(item.get("text") or ""))
            case "command_execution":
                code = item.get("exit_code")
                report.answer("shell", str(item.get("aggregated_output") or ""), code not in (0, None))
            case "mcp_tool_call":
                wrong = item.get("status") == "failed"
                result = item.get("error") if wrong else item.get("result")
                report.answer(f"{item.get('server')}/{item.get('tool')}", _text_of(result), wrong)
            case "error":
                report.note(str(item.get("message") or ""))
            case _:
                return False
        return True


class GeminiEvents:
    """Events of the Gemini CLI, `--output-format stream-json`."""

    def __init__(self) -> None:
        self._tools: dict[str, str] = {}
        self._answer = ""

    def __call__(self, event: Event, report: CliReport) -> bool:
        match event:
            case {"type": "init"} | {"type": "message", "role": "user"}:
                report.text("")
            case {"type": "message", "role": "assistant", "content": str(text)}:
                self._answer += text
                report.text(text)
            case {"type": "tool_use", "tool_name": str(name)}:
                self._tools[str(event.get("tool_id"))] = name
                self._answer = ""  # what it says before a call is not the answer
                report.text("\n")
                report.call(name, event.get("parameters"))
            case {"type": "tool_result"}:
                tool = self._tools.pop(str(event.get("tool_id")), "tool")
                wrong = event.get("status") != "success"
                report.answer(tool, _text_of(event.get("error") if wrong else event.get("output")), wrong)
            case {"type": "error", "message": message}:
                report.note(str(message))
            case {"type": "result"}:
                report.end(self._end(event))
            case _:
                return False
        return True

    def _end(self, event: Event) -> CliEnd:
        stats = _map(event.get("stats"))
        usage = _usage(stats, "cached", next(iter(_map(stats.get("models"))), ""))
        if event.get("status") == "success":
            return CliEnd(self._answer, usage)
        message = _map(event.get("error")).get("message")
        return CliEnd(self._answer, usage, str(message or "it does not say why"))


def _usage(said: Any, cached: str, model: str = "") -> Usage | None:
    """Usage whose count of input tokens includes those from a cache."""
    if not isinstance(said, Mapping):
        return None
    tokens_in, tokens_out, cached_in = (
        _count(said.get(name)) for name in ("input_tokens", "output_tokens", cached)
    )
    return Usage(tokens_in, tokens_out, cached_in, model=model)


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text_of(content: Any) -> str:
    """The text of a tool's result, which is text, a list of parts, or other data."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list):
        texts = [
            part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)
        ]
        if texts:
            return "\n".join(texts)
    return json.dumps(content, ensure_ascii=False, default=str)
