"""OpenAI's responses: `POST /v1/responses`. Nothing is kept: each request has the whole conversation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from agentdeck.gateway import openai_errors
from agentdeck.gateway.chat_completions import arguments, function, read_format, text_of, tool_choice
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
    text_at,
)
from agentdeck.providers.provider import Message, PromptReply, PromptRequest, ToolCall, ToolSpec
from agentdeck.workflow.model import Data

READ = ("model", "input", "instructions", "stream", "temperature", "top_p", "max_output_tokens", "tools",
        "tool_choice", "parallel_tool_calls", "text", "reasoning")  # fmt: skip
HINTS = ("user", "metadata", "store", "include", "service_tier", "safety_identifier", "prompt_cache_key",
         "prompt_cache_retention", "truncation", "stream_options", "client_metadata")  # fmt: skip
TEXTS = ("input_text", "output_text", "text")
#: The parameter of a tool of the type `custom`, whose input is text.
INPUT = "input"
#: The namespace of tools whose names are used as they are.
PLAIN = "functions"


class OfferedTool(NamedTuple):
    """A tool: as the client offers it, and `spec`, as a model sees it. `custom`: its input is text."""

    spec: ToolSpec
    name: str
    namespace: str
    custom: bool


class Responses(Dialect):
    name = "responses"

    def __init__(self) -> None:
        self.stream = ResponseStream

    def request(self, body: Mapping[str, Any]) -> ModelRequest:
        check_known(body, (*READ, *HINTS))
        system, messages = _read_input(body.get("input"))
        form, reasoning = map_of(body.get("text") or {}, "text"), map_of(body.get("reasoning") or {}, "reasoning")
        schema, strict = read_format(form.get("format"), "text.format")
        tools = [*list_at(body, "tools"), *_additional_tools(body.get("input"))]
        offered = [one for n, tool in enumerate(tools) for one in _tools(tool, f"tools[{n}]")]
        choice = body.get("tool_choice")
        if isinstance(choice, dict) and choice.get("type") == "custom":
            choice = {**choice, "type": "function"}
        prompt = PromptRequest(
            "",
            messages,
            "\n\n".join(filter(None, [text_at(body, "instructions"), system])),
            schema,
            number_at(body, "temperature"),
            count_at(body, "max_output_tokens"),
            (),
            [one.spec for one in offered],
            strict=strict,
            top_p=number_at(body, "top_p"),
            tool_choice=tool_choice(choice, "function"),
            parallel_calls=flag_at(body, "parallel_tool_calls"),
            effort=text_at(reasoning, "effort"),
        )
        echo: dict[str, Data] = {
            "instructions": body.get("instructions"),
            "tools": body.get("tools") or [],
            "tool_choice": body.get("tool_choice") or "auto",
            "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
            "temperature": body.get("temperature"),
            "top_p": body.get("top_p"),
            "max_output_tokens": body.get("max_output_tokens"),
            "metadata": body.get("metadata") or {},
            "text": dict(form) or {"format": {"type": "text"}},
        }
        return ModelRequest(
            text_at(body, "model"),
            prompt,
            bool(flag_at(body, "stream")),
            echo,
            {one.spec.name: one for one in offered},
        )

    def answer(self, answer: ModelAnswer) -> Data:
        items = _items(answer.id, answer.reply, answer.request)
        return _response(answer.id, answer.created, answer.request, answer.reply, items)

    def error(self, failure: CallFailure) -> Data:
        return openai_errors.error(failure)

    def models(self, names: Sequence[str]) -> Data:
        return openai_errors.models(names)


class ResponseStream(AnswerStream):
    """Events of a response."""

    def begin(self) -> bytes:
        self._number, self._said = 0, list[str]()
        response = _response(self._id, self._created, self._request, None, [])
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def text(self, piece: str) -> bytes:
        begun = b"" if self._said else self._open()
        self._said.append(piece)
        return begun + self._event("response.output_text.delta", **self._part, delta=piece, logprobs=[])

    def end(self, reply: PromptReply) -> bytes:
        data, items = b"", _items(self._id, reply, self._request)
        if reply.text and not self._said:
            data += self._open()
        first = 0
        if reply.text:
            first, item = 1, items[0]
            part = item["content"][0]
            data += self._event("response.output_text.done", **self._part, text=reply.text, logprobs=[])
            data += self._event("response.content_part.done", **self._part, part=part)
            data += self._event("response.output_item.done", output_index=0, item=item)
        for index, item in enumerate(items[first:], first):
            data += self._call(index, item)
        whole = _response(self._id, self._created, self._request, reply, items)
        name = "response.completed" if whole["status"] == "completed" else "response.incomplete"
        return data + self._event(name, response=whole)

    def fail(self, failure: CallFailure) -> bytes:
        response = _response(self._id, self._created, self._request, None, [])
        error = {"code": openai_errors.error(failure)["error"]["code"], "message": failure.message}
        return self._event("response.failed", response={**response, "status": "failed", "error": error})

    @property
    def _part(self) -> dict[str, Data]:
        return {"item_id": f"msg_{self._id}", "output_index": 0, "content_index": 0}

    def _open(self) -> bytes:
        item = {**_message(self._id, "", "in_progress"), "content": []}
        part = {"type": "output_text", "text": "", "annotations": []}
        return self._event("response.output_item.added", output_index=0, item=item) + self._event(
            "response.content_part.added", **self._part, part=part
        )

    def _call(self, index: int, item: dict[str, Data]) -> bytes:
        """The events of a call of a tool, whose input comes in one piece."""
        custom = item["type"] == "custom_tool_call"
        key = INPUT if custom else "arguments"
        kind = "custom_tool_call_input" if custom else "function_call_arguments"
        of = {"item_id": item["id"], "output_index": index}
        begun = {**item, key: "", "status": "in_progress"}
        return (
            self._event("response.output_item.added", output_index=index, item=begun)
            + self._event(f"response.{kind}.delta", **of, delta=item[key])
            + self._event(f"response.{kind}.done", **of, **{key: item[key]})
            + self._event("response.output_item.done", output_index=index, item=item)
        )

    def _event(self, name: str, **data: Data) -> bytes:
        self._number += 1
        return event({"type": name, "sequence_number": self._number - 1, **data}, name)


def _response(
    id: str,  # noqa: A002
    created: int,
    request: ModelRequest,
    reply: PromptReply | None,
    items: Sequence[Data],
) -> dict[str, Data]:
    status, cut = "in_progress", None
    if reply is not None:
        status = "incomplete" if reply.ended == "length" else "completed"
        cut = {"reason": "max_output_tokens"} if reply.ended == "length" else None
    return {
        "id": f"resp_{id}",
        "object": "response",
        "created_at": created,
        "status": status,
        "model": request.model,
        "output": list(items),
        "error": None,
        "incomplete_details": cut,
        "usage": None if reply is None else _usage(reply),
        **request.echo,
    }


def _usage(reply: PromptReply) -> Data:
    tokens_in, tokens_out = reply.tokens_in or 0, reply.tokens_out or 0
    return {
        "input_tokens": tokens_in,
        "input_tokens_details": {"cached_tokens": reply.cached_in or 0},
        "output_tokens": tokens_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens_in + tokens_out,
    }


def _message(id: str, text: str, status: str = "completed") -> dict[str, Data]:  # noqa: A002
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": f"msg_{id}", "status": status, "role": "assistant", "content": content}


def _items(id: str, reply: PromptReply, request: ModelRequest) -> list[dict[str, Data]]:  # noqa: A002
    """The text, then the calls of tools."""
    items = [_message(id, reply.text)] if reply.text else []
    for number, call in enumerate(reply.calls):
        tool: OfferedTool | None = request.offered.get(call.name)
        of: dict[str, Data] = {"id": f"fc_{id}_{number}", "call_id": call.id, "status": "completed"}
        of["name"] = call.name if tool is None else tool.name
        if tool is not None and tool.namespace:
            of["namespace"] = tool.namespace
        if tool is not None and tool.custom:
            items.append({"type": "custom_tool_call", **of, INPUT: str(call.arguments.get(INPUT, ""))})
        else:
            given = json.dumps(call.arguments, ensure_ascii=False)
            items.append({"type": "function_call", **of, "arguments": given})
    return items


# Reading ------------------------------------------------------------------------------------------------------


def _read_input(given: Data) -> tuple[str, Sequence[Message]]:
    """The system text, and the other messages."""
    if isinstance(given, str):
        return "", [Message("user", given)]
    if not isinstance(given, list) or not given:
        raise BadRequest("input has to be a string or a list of items", "input")
    system, messages = list[str](), list[Message]()
    for number, one in enumerate(given):
        where = f"input[{number}]"
        item = map_of(one, where)
        kind = item.get("type", "message")
        if kind == "message":
            role, text = item.get("role"), text_of(item.get("content"), f"{where}.content", TEXTS)
            if role in ("system", "developer"):
                system.append(text)
            elif role in ("user", "assistant"):
                messages.append(Message(role, text))
            else:
                raise BadRequest(f"{where}.role is {role!r:.40}, which is not supported", f"{where}.role")
        elif kind in ("function_call", "custom_tool_call"):
            _add_call(messages, _read_call(item, kind, where))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            text = text_of(item.get("output"), f"{where}.output", TEXTS)
            messages.append(Message("tool", text, call=str(item.get("call_id") or "")))
        elif kind not in ("additional_tools", "reasoning"):  # reasoning of another model is of no use to this one
            raise BadRequest(f"{where} is of the type {kind!r:.40}, which is not supported by the gateway", where)
    return "\n\n".join(system), messages


def _read_call(item: Mapping[str, Any], kind: str, where: str) -> ToolCall:
    given = {INPUT: item.get(INPUT)} if kind == "custom_tool_call" else arguments(item.get("arguments"), where)
    name = _flat(str(item.get("namespace") or ""), str(item.get("name") or ""))
    return ToolCall(str(item.get("call_id") or ""), name, given)


def _add_call(messages: list[Message], call: ToolCall) -> None:
    """Calls are items of their own here, and parts of the message before them elsewhere."""
    if messages and messages[-1].role == "assistant":
        messages[-1] = messages[-1]._replace(calls=[*messages[-1].calls, call])
    else:
        messages.append(Message("assistant", "", calls=[call]))


def _additional_tools(given: Data) -> Iterator[Any]:
    """The tools among the items of the conversation, which Codex adds as it goes."""
    for item in given if isinstance(given, list) else ():
        if isinstance(item, dict) and item.get("type") == "additional_tools":
            yield from list_at(item, "tools")


def _tools(given: Any, where: str, namespace: str = "") -> Iterator[OfferedTool]:
    """The tool, or those of a namespace."""
    tool = map_of(given, where)
    name, kind = str(tool.get("name") or ""), tool.get("type")
    if kind == "namespace" and not namespace:
        for number, inner in enumerate(list_at(tool, "tools")):
            yield from _tools(inner, f"{where}.tools[{number}]", name)
    elif kind == "function":
        spec = function({**tool, "name": _flat(namespace, name)}, where)
        yield OfferedTool(spec, name, namespace, False)
    elif kind == "custom":
        schema = {"type": "object", "properties": {INPUT: {"type": "string"}}, "required": [INPUT]}
        about, form = str(tool.get("description") or ""), tool.get("format")
        if isinstance(form, dict):
            about += f"\n\nIts input has this format: {json.dumps(form)}"
        flat = {"name": _flat(namespace, name), "parameters": schema, "description": about}
        yield OfferedTool(function(flat, where), name, namespace, True)
    else:
        what = f"{where} is of the type {kind!r:.40}, a tool of OpenAI's own servers"
        raise BadRequest(f"{what}; the gateway of agentdeck passes on functions and custom tools only", where)


def _flat(namespace: str, name: str) -> str:
    """The name by which a model knows a tool."""
    return name if namespace in ("", PLAIN) else f"{namespace}__{name}"
