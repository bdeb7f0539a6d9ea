"""Anthropic's messages: `POST /v1/messages`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agentdeck.gateway.dialect import AnswerStream, Dialect, event
from agentdeck.gateway.model_request import (
    BadRequest,
    CallFailure,
    ModelAnswer,
    ModelRequest,
    check_known,
    count_at,
    flag_at,
    list_at,
    map_of,
    number_at,
    stops_at,
    text_at,
)
from agentdeck.providers.provider import Message, PromptReply, PromptRequest, ToolCall, ToolSpec
from agentdeck.workflow.model import Data

READ = ("model", "messages", "system", "stream", "temperature", "top_p", "max_tokens", "stop_sequences", "tools",
        "tool_choice", "output_config", "output_format")  # fmt: skip
#: They change how an answer is found, or what is kept of it, not what the answer is. Thinking of a model is not
#: passed on, so none is asked for.
HINTS = ("metadata", "service_tier", "thinking", "top_k", "context_management", "cache_control", "inference_geo",
         "betas", "speed", "diagnostics")  # fmt: skip
STOPPED = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use"}
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 404: "not_found_error",
          413: "request_too_large", 504: "timeout_error"}  # fmt: skip


class Messages(Dialect):
    name = "messages"

    def __init__(self) -> None:
        self.stream = MessageStream

    def request(self, body: Mapping[str, Any]) -> ModelRequest:
        check_known(body, (*READ, *HINTS))
        given = body.get("system")
        system = given if isinstance(given, str) else _text(given, "system")
        later, messages = _read_messages(list_at(body, "messages"))
        choice = map_of(body.get("tool_choice") or {}, "tool_choice")
        schema, effort = _output(body)
        prompt = PromptRequest(
            "",
            messages,
            "\n\n".join(filter(None, [system, *later])),
            schema,
            number_at(body, "temperature"),
            count_at(body, "max_tokens"),
            stops_at(body, "stop_sequences"),
            [_tool(tool, f"tools[{n}]") for n, tool in enumerate(list_at(body, "tools"))],
            strict=True if schema is not None else None,
            top_p=number_at(body, "top_p"),
            tool_choice=_choice(choice),
            parallel_calls=False if choice.get("disable_parallel_tool_use") else None,
            effort=effort,
            cache='"cache_control"' in json.dumps([body.get("system"), body.get("messages"), body.get("tools")]),
        )
        return ModelRequest(text_at(body, "model"), prompt, bool(flag_at(body, "stream")))

    def answer(self, answer: ModelAnswer) -> Data:
        reply = answer.reply
        content: list[Data] = [{"type": "text", "text": reply.text}] if reply.text else []
        content += [
            {"type": "tool_use", "id": c.id, "name": c.name, "input": dict(c.arguments)} for c in reply.calls
        ]
        return {
            **_head(answer.id, answer.request.model),
            "content": content,
            "stop_reason": _reason(reply),
            "usage": _usage(reply),
        }

    def error(self, failure: CallFailure) -> Data:
        return _error(failure)

    def models(self, names: Sequence[str]) -> Data:
        found = [
            {"type": "model", "id": n, "display_name": n, "created_at": "1970-01-01T00:00:00Z"} for n in names
        ]
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return {"data": found, "has_more": False, **ends}


class MessageStream(AnswerStream):
    """Events of a message. Its input tokens are known at the end only, where the last event has them."""

    keep_alive = event({"type": "ping"}, "ping")

    def begin(self) -> bytes:
        self._index, self._open = 0, False
        usage = {"input_tokens": 0, "output_tokens": 0}
        message = {**_head(self._id, self._request.model), "content": [], "stop_reason": None, "usage": usage}
        return self._event("message_start", message=message)

    def text(self, piece: str) -> bytes:
        begun = b""
        if not self._open:
            self._open = True
            begun = self._start({"type": "text", "text": ""})
        return begun + self._delta({"type": "text_delta", "text": piece})

    def end(self, reply: PromptReply) -> bytes:
        data = self._stop() if self._open else b""
        for call in reply.calls:
            data += self._start({"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
            given = json.dumps(call.arguments, ensure_ascii=False)
            data += self._delta({"type": "input_json_delta", "partial_json": given}) + self._stop()
        delta = {"stop_reason": _reason(reply), "stop_sequence": None}
        last = self._event("message_delta", delta=delta, usage=_usage(reply))
        return data + last + self._event("message_stop")

    def fail(self, failure: CallFailure) -> bytes:
        return event(_error(failure), "error")

    def _start(self, block: Data) -> bytes:
        return self._event("content_block_start", index=self._index, content_block=block)

    def _delta(self, delta: Data) -> bytes:
        return self._event("content_block_delta", index=self._index, delta=delta)

    def _stop(self) -> bytes:
        self._index += 1
        return self._event("content_block_stop", index=self._index - 1)

    def _event(self, name: str, **data: Data) -> bytes:
        return event({"type": name, **data}, name)


def _head(id: str, model: str) -> dict[str, Data]:  # noqa: A002
    return {"id": f"msg_{id}", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}


def _reason(reply: PromptReply) -> str:
    return "tool_use" if reply.calls and reply.ended != "length" else STOPPED.get(reply.ended, "end_turn")


def _usage(reply: PromptReply) -> Data:
    cached = reply.cached_in or 0
    return {
        "input_tokens": max(0, (reply.tokens_in or 0) - cached),
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": reply.tokens_out or 0,
    }


def _error(failure: CallFailure) -> Data:
    return {
        "type": "error",
        "error": {"type": _TYPES.get(failure.status, "api_error"), "message": failure.message},
    }


# Reading ------------------------------------------------------------------------------------------------------


def _read_messages(given: Sequence[Any]) -> tuple[Sequence[str], Sequence[Message]]:
    """Text for the system among the messages, and the others."""
    if not given:
        raise BadRequest("messages is empty", "messages")
    system, messages = list[str](), list[Message]()
    for number, one in enumerate(given):
        where = f"messages[{number}]"
        turn = map_of(one, where)
        role, content = turn.get("role"), turn.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(blocks, list):
            raise BadRequest(f"{where}.content has to be a string or a list of blocks", where)
        if role == "system":
            system.append(_text(blocks, f"{where}.content"))
        elif role == "user":
            messages += _user(blocks, f"{where}.content")
        elif role == "assistant":
            messages.append(_assistant(blocks, f"{where}.content"))
        else:
            raise BadRequest(f"{where}.role is {role!r:.40}, which is not supported", f"{where}.role")
    return system, messages


def _user(blocks: Sequence[Any], where: str) -> Sequence[Message]:
    """The results of tools come before the text of a turn: the calls before it wait for them."""
    results = [
        n for n, block in enumerate(blocks) if isinstance(block, dict) and block.get("type") == "tool_result"
    ]
    found = []
    for number in results:
        block = blocks[number]
        text = _text(block.get("content"), f"{where}[{number}].content")
        found.append(
            Message("tool", text, call=str(block.get("tool_use_id") or ""), failed=bool(block.get("is_error")))
        )
    rest = [block for number, block in enumerate(blocks) if number not in results]
    return [*found, Message("user", _text(rest, where))] if rest or not found else found


def _assistant(blocks: Sequence[Any], where: str) -> Message:
    texts, calls = [], list[ToolCall]()
    for number, block in enumerate(blocks):
        at = f"{where}[{number}]"
        kind = map_of(block, at).get("type")
        if kind == "tool_use":
            given = map_of(block.get("input") or {}, f"{at}.input")
            calls.append(ToolCall(str(block.get("id") or ""), str(block.get("name") or ""), given))
        elif kind not in ("thinking", "redacted_thinking"):  # of another model, of no use to this one
            texts.append(_text([block], at))
    return Message("assistant", "\n".join(texts), calls=calls)


def _text(blocks: Data, where: str) -> str:
    """The text of blocks. Raises BadRequest for a block of another kind."""
    if blocks is None or isinstance(blocks, str):
        return blocks or ""
    if not isinstance(blocks, list):
        raise BadRequest(f"{where} has to be a string or a list of blocks", where)
    texts = []
    for number, block in enumerate(blocks):
        kind = block.get("type") if isinstance(block, dict) else None
        text = block.get("text") if isinstance(block, dict) else None
        if kind != "text" or not isinstance(text, str):
            at = f"{where}[{number}]"
            raise BadRequest(
                f"{at} is of the type {kind!r:.40}; the gateway of agentdeck passes on text only", at
            )
        texts.append(text)
    return "\n".join(texts)


def _tool(given: Any, where: str) -> ToolSpec:
    tool = map_of(given, where)
    if tool.get("type", "custom") != "custom" or not isinstance(tool.get("name"), str):
        what = f"{where} is of the type {tool.get('type')!r:.40}, a tool of Anthropic's own servers"
        raise BadRequest(f"{what}; the gateway of agentdeck passes on the client's own tools only", where)
    schema = map_of(tool.get("input_schema") or {"type": "object", "properties": {}}, f"{where}.input_schema")
    return ToolSpec(tool["name"], str(tool.get("description") or ""), schema)


def _choice(choice: Mapping[str, Any]) -> str:
    match choice.get("type"):
        case None | "auto":
            return "auto" if choice else ""
        case "any" | "none":
            return str(choice["type"])
        case "tool" if isinstance(choice.get("name"), str):
            return f"tool:{choice['name']}"
    raise BadRequest(f"tool_choice {json.dumps(choice)[:80]} is not supported", "tool_choice")


def _output(body: Mapping[str, Any]) -> tuple[Mapping[str, Data] | None, str]:
    """The schema of the answer, and the effort."""
    config = map_of(body.get("output_config") or {}, "output_config")
    check_known(config, ("format", "effort"), "output_config")
    form = config.get("format") or body.get("output_format")
    effort = text_at(config, "effort")
    if form is None:
        return None, effort
    if map_of(form, "output_config.format").get("type") != "json_schema":
        raise BadRequest("output_config.format has to be of the type json_schema", "output_config.format")
    return map_of(form.get("schema"), "output_config.format.schema"), effort
