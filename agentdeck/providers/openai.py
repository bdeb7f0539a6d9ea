"""`openai`: the chat completions API, of OpenAI and of compatible servers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agentdeck.errors import StepError
from agentdeck.providers.chat_provider import ChatProvider, Counts, Event, read_image
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.provider import Message, PromptReply, PromptRequest, instruction, strict
from agentdeck.providers.provider_errors import ProviderRefusal, mid_stream
from agentdeck.providers.provider_type import PriceList, ProviderContext, ProviderType
from agentdeck.providers.stream_answer import StreamedAnswer, counted, of
from agentdeck.workflow.deck import Provider
from agentdeck.workflow.model import Data

if TYPE_CHECKING:
    from agentdeck.providers.http_stream import EventStreamClient

URL = "https://api.openai.com/v1"
#: Reasons for the end of an answer that the provider refused.
REFUSED = ("content_filter", "safety", "recitation", "blocklist", "prohibited_content", "sensitive")
#: Optional parts of a request that some compatible servers reject, and how a refusal names them.
OPTIONAL = ("response_format", "stream_options", "temperature", "max_completion_tokens", "max_tokens", "top_p",
            "parallel_tool_calls", "reasoning_effort")  # fmt: skip


class OpenAIType(ProviderType):
    """OpenAI, and servers that speak its protocol: those have the prices that are listed for their URL."""

    def create(self, context: ProviderContext) -> OpenAIProvider:
        return OpenAIProvider(context.name, context.deck, context.keys, context.http())

    def price_list(self, url: str | None) -> PriceList:
        return PriceList("openai") if url is None else PriceList(url=url)


class OpenAIProvider(ChatProvider):
    """`_without` are the optional parts, by model, that a server has refused: they are not sent again."""

    def __init__(self, name: str, provider: Provider, keys: KeyStore, wire: EventStreamClient) -> None:
        super().__init__(name, provider, (provider.url or URL).rstrip("/") + "/chat/completions", keys, wire)
        self._most = "max_tokens" if provider.url else "max_completion_tokens"
        self._without: dict[str, set[str]] = {}

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"} if key else {}

    async def _body(self, request: PromptRequest) -> dict[str, Data]:
        without = self._without.get(request.model, set())
        system, answer_format = request.system, None
        if request.schema is not None:
            exact = strict(request.schema) if request.strict is None else request.strict
            named = {"name": "answer", "schema": request.schema, "strict": exact}
            answer_format = {"type": "json_schema", "json_schema": named}
            if "response_format" in without:
                system = f"{system}\n\n{instruction(request.schema)}".strip()
        tools = [{"name": t.name, "description": t.about, "parameters": t.schema} for t in request.tools]
        body: dict[str, Data] = {
            "model": request.model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": request.temperature,
            self._most if self._most not in without else "max_completion_tokens": request.max_output,
            "stop": list(request.stop) or None,
            "tools": [{"type": "function", "function": tool} for tool in tools] or None,
            "response_format": answer_format,
            "top_p": request.top_p,
            "tool_choice": _choice(request.tool_choice) if tools else None,
            "parallel_tool_calls": request.parallel_calls if tools else None,
            "reasoning_effort": request.effort or None,
        }
        body = {name: value for name, value in body.items() if value is not None and name not in without}
        start = [{"role": "system", "content": system}] if system else []
        body["messages"] = [*start, *[await _message(turn) for turn in request.messages]]
        return body

    def _reply(self, got: StreamedAnswer, usage: Counts, *, typed: bool) -> PromptReply:
        calls, wrong = got.calls()
        return PromptReply(
            got.text,
            calls,
            counted(of(usage, "prompt_tokens"), 1),
            counted(of(usage, "completion_tokens"), 1 if got.text or calls else 0),
            counted(of(usage, "prompt_tokens_details", "cached_tokens"), 0),
            "tools" if calls and not wrong else got.ended,
            wrong=wrong or got.uncalled(calls, typed=typed),
        )

    def _take_whole(self, body: Event, got: StreamedAnswer, usage: Counts) -> None:
        self._take(body, got, usage, "message")

    def _take(self, event: Event, got: StreamedAnswer, usage: Counts, part: str = "delta") -> bool:
        """Handle one event, or a whole answer. Never returns True for the last one: usage follows the end, and
        `[DONE]` ends the stream."""
        choices = event.get("choices")
        failed = event.get("error") or (event if _is_error(event) else None)
        if failed:
            raise mid_stream(self._who, failed)
        choice = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(choice, dict):
            self._choose(choice, choice.get(part, choice.get("message")), got)
        if isinstance(event.get("usage"), dict):
            usage.update(event["usage"])
        return False

    def _choose(self, choice: Mapping[str, Data], delta: Data, got: StreamedAnswer) -> None:
        if choice.get("error"):
            raise mid_stream(self._who, choice["error"])
        if isinstance(delta, dict):
            got.add_text(delta.get("content"))
            got.thought = got.thought or bool(delta.get("reasoning_content") or delta.get("reasoning"))
            if delta.get("refusal"):
                raise StepError("refused", f"{self._who} refused: {str(delta['refusal'])[:300]}")
            if delta.get("tool_calls"):
                _call(delta["tool_calls"], got)
            if delta.get("function_call"):  # the older form: one call, without an index
                _call([{"function": delta["function_call"]}], got)
        got.complete = got.end(choice.get("finish_reason"), "finish_reason", REFUSED) or got.complete

    def _failure(self, error: StepError, request: PromptRequest, body: Event, text: str) -> StepError:
        """As for every provider. Where it refuses an optional part, the next attempt omits that part."""
        part = _refused_part(error, body) if isinstance(error, ProviderRefusal) else ""
        if part:
            self._without.setdefault(request.model, set()).add(part)
            message = f"{error.fault.message}; the next attempt leaves out {part}"
            error.fault = error.fault._replace(kind="server", message=message)
        return super()._failure(error, request, body, text)


def _choice(choice: str) -> Data:
    if choice.startswith("tool:"):
        return {"type": "function", "function": {"name": choice.removeprefix("tool:")}}
    return "required" if choice == "any" else choice or None


def _refused_part(error: ProviderRefusal, body: Event) -> str:
    """The optional part of the request that a refusal names. Some servers (llama.cpp's among them) answer 500 in
    place of 400; a 500 that names several parts may only repeat the request."""
    named = [part for part in OPTIONAL if part in body and re.search(rf"\b{part}\b", error.fault.detail)]
    if error.status == 500:
        return named[0] if len(named) == 1 else ""
    return named[0] if named and error.fault.kind == "rejected" else ""


def _is_error(event: Event) -> bool:
    """Whether an event without choices is an error outside of `error`, as servers of vLLM and FastAPI send it."""
    if event.get("object") == "error":
        return True
    if "choices" in event or "usage" in event:
        return False
    return bool(event.get("message") or event.get("detail"))


def _call(calls: Data, got: StreamedAnswer) -> None:
    """Handle pieces of tool calls."""
    for place, call in enumerate(calls if isinstance(calls, list) else []):
        name, piece, at = of(call, "function", "name"), of(call, "function", "arguments"), of(call, "index")
        if isinstance(piece, dict):
            piece = json.dumps(piece)
        got.call(place if at is None else at, id=_word(of(call, "id")), name=_word(name), piece=_word(piece))


def _word(value: Data) -> str:
    return value if isinstance(value, str) else ""


async def _message(turn: Message) -> dict[str, Any]:
    if turn.role == "tool":
        return {"role": "tool", "tool_call_id": turn.call, "content": turn.text}
    message: dict[str, Any] = {"role": turn.role, "content": turn.text}
    if turn.images:
        parts: list[Data] = [{"type": "text", "text": turn.text}]
        for file in turn.images:
            kind, data = await read_image(file)
            parts.append({"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}})
        message["content"] = parts
    if turn.calls:
        message["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": json.dumps(c.arguments)}}
            for c in turn.calls
        ]
    return message
