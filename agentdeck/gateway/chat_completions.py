"""OpenAI's chat completions: `POST /v1/chat/completions`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agentdeck.gateway import openai_errors
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

#: What is read here, and hints that change neither the meaning nor the form of an answer: they are ignored.
READ = ("model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens",
        "max_completion_tokens", "stop", "tools", "tool_choice", "parallel_tool_calls", "response_format",
        "reasoning_effort", "n")  # fmt: skip
HINTS = ("user", "metadata", "store", "seed", "service_tier", "safety_identifier", "prompt_cache_key",
         "prompt_cache_retention", "verbosity", "modalities")  # fmt: skip
FINISH = {"stop": "stop", "length": "length", "tools": "tool_calls"}


class ChatCompletions(Dialect):
    name = "chat"

    def __init__(self) -> None:
        self.stream = ChatStream

    def request(self, body: Mapping[str, Any]) -> ModelRequest:
        check_known(body, (*READ, *HINTS))
        if body.get("n") not in (None, 1):
            raise BadRequest("n has to be 1", "n")
        if body.get("modalities") not in (None, ["text"]):
            raise BadRequest(
                "modalities other than text are not supported by the gateway of agentdeck", "modalities"
            )
        system, messages = read_messages(list_at(body, "messages"))
        schema, strict = read_format(body.get("response_format"), "response_format")
        options = map_of(body.get("stream_options") or {}, "stream_options")
        prompt = PromptRequest(
            "",
            messages,
            system,
            schema,
            number_at(body, "temperature"),
            count_at(body, "max_completion_tokens", "max_tokens"),
            stops_at(body, "stop"),
            [_tool(tool, f"tools[{n}]") for n, tool in enumerate(list_at(body, "tools"))],
            strict=strict,
            top_p=number_at(body, "top_p"),
            tool_choice=tool_choice(body.get("tool_choice"), "function"),
            parallel_calls=flag_at(body, "parallel_tool_calls"),
            effort=text_at(body, "reasoning_effort"),
        )
        echo = {"usage": bool(options.get("include_usage"))}
        return ModelRequest(text_at(body, "model"), prompt, bool(flag_at(body, "stream")), echo)

    def answer(self, answer: ModelAnswer) -> Data:
        reply = answer.reply
        message: dict[str, Data] = {"role": "assistant", "content": reply.text or None, "refusal": None}
        if reply.calls:
            message["tool_calls"] = [_call(call) for call in reply.calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish(reply)}
        return {
            "id": f"chatcmpl-{answer.id}",
            "object": "chat.completion",
            "created": answer.created,
            "model": answer.request.model,
            "choices": [choice],
            "usage": usage(reply),
        }

    def error(self, failure: CallFailure) -> Data:
        return openai_errors.error(failure)

    def models(self, names: Sequence[str]) -> Data:
        return openai_errors.models(names)


class ChatStream(AnswerStream):
    """Chunks of a completion."""

    def begin(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, piece: str) -> bytes:
        return self._chunk({"content": piece})

    def end(self, reply: PromptReply) -> bytes:
        calls = b"".join(
            self._chunk({"tool_calls": [{"index": n, **_call(call)}]}) for n, call in enumerate(reply.calls)
        )
        last = self._chunk({}, finish(reply))
        counts = b""
        if self._request.echo["usage"]:
            counts = event({**self._head(), "choices": [], "usage": usage(reply)})
        return calls + last + counts + b"data: [DONE]\n\n"

    def fail(self, failure: CallFailure) -> bytes:
        return event(openai_errors.error(failure))

    def _head(self) -> dict[str, Data]:
        return {
            "id": f"chatcmpl-{self._id}",
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._request.model,
        }

    def _chunk(self, delta: Data, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return event({**self._head(), "choices": [choice]})


def finish(reply: PromptReply) -> str:
    return "tool_calls" if reply.calls and reply.ended != "length" else FINISH.get(reply.ended, "stop")


def usage(reply: PromptReply) -> Data:
    tokens_in, tokens_out = reply.tokens_in or 0, reply.tokens_out or 0
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": reply.cached_in or 0},
    }


def _call(call: ToolCall) -> dict[str, Data]:
    made = {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
    return {"id": call.id, "type": "function", "function": made}


# Reading ------------------------------------------------------------------------------------------------------


def read_messages(given: Sequence[Any]) -> tuple[str, Sequence[Message]]:
    """The system text, and the other messages."""
    if not given:
        raise BadRequest("messages is empty", "messages")
    system, messages = list[str](), list[Message]()
    for number, one in enumerate(given):
        where = f"messages[{number}]"
        turn = map_of(one, where)
        role = turn.get("role")
        known = (
            "role",
            "content",
            "name",
            "refusal",
            "tool_calls",
            "tool_call_id",
            "annotations",
            "reasoning_content",
        )
        check_known(turn, known, where)
        text = text_of(turn.get("content"), f"{where}.content")
        if role in ("system", "developer"):
            system.append(text)
        elif role == "user":
            messages.append(Message("user", text))
        elif role == "assistant":
            calls = [
                _read_call(c, f"{where}.tool_calls[{n}]") for n, c in enumerate(turn.get("tool_calls") or ())
            ]
            messages.append(Message("assistant", text, calls=calls))
        elif role == "tool":
            messages.append(Message("tool", text, call=str(turn.get("tool_call_id") or "")))
        else:
            raise BadRequest(f"{where}.role is {role!r:.40}, which is not supported", f"{where}.role")
    return "\n\n".join(system), messages


def text_of(content: Data, where: str, kinds: Sequence[str] = ("text",)) -> str:
    """The text of a content: a string, or a list of parts. Raises BadRequest for a part of another kind."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise BadRequest(f"{where} has to be a string or a list of parts", where)
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text") if isinstance(part, dict) else None
        if kind not in kinds or not isinstance(text, str):
            at = f"{where}[{number}]"
            raise BadRequest(
                f"{at} is of the type {kind!r:.40}; the gateway of agentdeck passes on text only", at
            )
        texts.append(text)
    return "\n".join(texts)


def _read_call(given: Any, where: str) -> ToolCall:
    call = map_of(given, where)
    made = map_of(call.get("function"), f"{where}.function")
    return ToolCall(
        str(call.get("id") or ""), str(made.get("name") or ""), arguments(made.get("arguments"), where)
    )


def arguments(text: Data, where: str) -> Mapping[str, Data]:
    """The arguments of a call, which are JSON in a string."""
    try:
        found = json.loads(text) if isinstance(text, str) and text.strip() else text or {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadRequest(f"the arguments of {where} are not a JSON object", where)
    return found


def _tool(given: Any, where: str) -> ToolSpec:
    tool = map_of(given, where)
    if tool.get("type", "function") != "function":
        what = (
            f"{where} is of the type {tool.get('type')!r:.40}; the gateway of agentdeck passes on functions only"
        )
        raise BadRequest(what, where)
    return function(map_of(tool.get("function"), f"{where}.function"), where)


def function(spec: Mapping[str, Any], where: str) -> ToolSpec:
    """A tool from its name, description and parameters."""
    if not isinstance(spec.get("name"), str) or not spec["name"]:
        raise BadRequest(f"{where} has no name", where)
    schema = spec.get("parameters") or {"type": "object", "properties": {}}
    return ToolSpec(spec["name"], str(spec.get("description") or ""), map_of(schema, f"{where}.parameters"))


def tool_choice(given: Data, kind: str) -> str:
    """As in PromptRequest."""
    if given is None or given in ("auto", "none"):
        return given or ""
    if given == "required":
        return "any"
    if isinstance(given, dict) and given.get("type") == kind:
        named: Any = given.get(kind) if isinstance(given.get(kind), dict) else given
        if isinstance(named.get("name"), str):
            return f"tool:{named['name']}"
    raise BadRequest(
        f"tool_choice {json.dumps(given)[:80]} is not supported by the gateway of agentdeck", "tool_choice"
    )


def read_format(given: Data, where: str) -> tuple[Mapping[str, Data] | None, bool | None]:
    """The schema of the answer, and whether it is to be enforced exactly."""
    if given is None:
        return None, None
    form = map_of(given, where)
    match form.get("type"):
        case "text":
            return None, None
        case "json_object":
            return {"type": "object"}, False
        case "json_schema":
            spec = map_of(form.get("json_schema", form), f"{where}.json_schema")
            return map_of(spec.get("schema"), f"{where}.schema"), bool(spec.get("strict"))
    raise BadRequest(f"{where}.type is {form.get('type')!r:.40}, which is not supported", f"{where}.type")
