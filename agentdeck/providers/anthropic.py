"""`anthropic`: the Messages API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentdeck.providers.chat_provider import ChatProvider, Counts, Event, read_image
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.model_facts import unless_limited
from agentdeck.providers.provider import Message, PromptReply, PromptRequest
from agentdeck.providers.provider_errors import mid_stream
from agentdeck.providers.provider_type import PriceList, ProviderContext, ProviderType
from agentdeck.providers.stream_answer import StreamedAnswer, counted, of
from agentdeck.workflow.deck import Provider
from agentdeck.workflow.model import Data

if TYPE_CHECKING:
    from agentdeck.providers.http_stream import EventStreamClient

URL = "https://api.anthropic.com"
VERSION = "2023-06-01"
REFUSED = ("refusal", "content_filter")
#: The tool whose input is the typed answer.
ANSWER = "answer"
#: The counts of a request that its input is the sum of: what is new, read from the cache, written to it.
INPUT_TOKENS = ("", "cache_read_", "cache_creation_")


class AnthropicType(ProviderType):
    """Anthropic, and servers that speak its protocol. It needs a `max_tokens` in each request."""

    def create(self, context: ProviderContext) -> AnthropicProvider:
        return AnthropicProvider(context.name, context.deck, context.keys, context.http())

    def price_list(self, url: str | None) -> PriceList:
        return PriceList("anthropic")

    def default_max_output(self, model: str) -> int:
        return unless_limited(model)


class AnthropicProvider(ChatProvider):
    """A typed answer is requested as a call of a tool, which the model has to make."""

    answer_tool = ANSWER

    def __init__(self, name: str, provider: Provider, keys: KeyStore, wire: EventStreamClient) -> None:
        base = (provider.url or URL).rstrip("/").removesuffix("/v1")
        super().__init__(name, provider, f"{base}/v1/messages", keys, wire)

    def _headers(self, key: str) -> dict[str, str]:
        return {"anthropic-version": VERSION, **({"x-api-key": key} if key else {})}

    async def _body(self, request: PromptRequest) -> dict[str, Data]:
        tools = [{"name": t.name, "description": t.about, "input_schema": t.schema} for t in request.tools]
        choice = _choice(request) if tools else None
        if request.schema is not None:
            choice = {"type": "any"} if tools else {"type": "tool", "name": ANSWER}
            tools.append({"name": ANSWER, "description": "Give the answer.", "input_schema": request.schema})
        body: dict[str, Data] = {
            "model": request.model,
            "max_tokens": request.max_output or unless_limited(request.model),
            "stream": True,
            "messages": _joined([await _message(turn) for turn in request.messages]),
            "system": request.system or None,
            "temperature": None if request.temperature is None else min(request.temperature, 1.0),
            "stop_sequences": list(request.stop) or None,
            "tool_choice": choice,
            "tools": tools or None,
            "top_p": request.top_p,
        }
        if request.cache:
            _mark_for_cache(body)
        return {name: value for name, value in body.items() if value is not None}

    def _reply(self, got: StreamedAnswer, usage: Counts, *, typed: bool) -> PromptReply:
        answered = got.shown_or("" if got.ended == "length" else "{}") if typed else ""
        calls, wrong = ((), "") if answered else got.calls()
        text = answered or got.text
        fresh, cached, written = (counted(usage.get(f"{kind}input_tokens"), 0) for kind in INPUT_TOKENS)
        tokens_in = None if fresh is None else fresh + (cached or 0) + (written or 0)
        return PromptReply(
            text,
            calls,
            counted(tokens_in, 1),
            counted(usage.get("output_tokens"), 1 if text or calls else 0),
            cached,
            "tools" if calls else "stop" if got.ended == "tools" else got.ended,
            wrong=got.wrong or wrong or got.uncalled(calls, typed=typed),
        )

    def _take(self, event: Event, got: StreamedAnswer, usage: Counts) -> bool:
        at = event.get("index")
        match event.get("type"):
            case "message_start":
                _overlay(usage, of(event, "message", "usage"))
            case "content_block_start":
                self._block(event.get("content_block"), at, got)
            case "content_block_delta":
                got.add_text(of(event, "delta", "text"))
                piece = of(event, "delta", "partial_json")
                if isinstance(piece, str):
                    got.call(at, piece=piece)
            case "message_delta":
                _overlay(usage, event.get("usage"))
                self._end(of(event, "delta", "stop_reason"), got)
            case "message_stop":
                got.complete = True
                return True
            case "error":
                raise mid_stream(self._who, event.get("error"))
            case None if event.get("error"):
                raise mid_stream(self._who, event["error"])
        return False

    def _take_whole(self, body: Event, got: StreamedAnswer, usage: Counts) -> None:
        if body.get("error"):
            raise mid_stream(self._who, body["error"])
        blocks = body.get("content")
        for at, block in enumerate(blocks if isinstance(blocks, list) else []):
            self._block(block, at, got)
        _overlay(usage, body.get("usage"))
        self._end(body.get("stop_reason"), got)
        got.complete = body.get("stop_reason") is not None

    def _block(self, block: Data, at: Data, got: StreamedAnswer) -> None:
        if of(block, "type") == "tool_use":
            given = of(block, "input")
            piece = json.dumps(given) if given else ""
            got.call(at, id=str(of(block, "id") or ""), name=str(of(block, "name") or ""), piece=piece)
        elif of(block, "type") in ("thinking", "redacted_thinking"):
            got.thought = True
        else:
            got.add_text(of(block, "text"))

    def _end(self, reason: Data, got: StreamedAnswer) -> None:
        got.end(reason, "stop_reason", REFUSED)
        if reason == "pause_turn":
            got.wrong = "the turn was paused (pause_turn), which only tools of the provider need"


async def _message(turn: Message) -> dict[str, Any]:
    if turn.role == "tool":
        result: dict[str, Data] = {"type": "tool_result", "tool_use_id": turn.call, "content": turn.text}
        if turn.failed:
            result["is_error"] = True
        return {"role": "user", "content": [result]}
    parts: list[Data] = []
    for file in turn.images:
        kind, data = await read_image(file)
        parts.append({"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}})
    if turn.text:
        parts.append({"type": "text", "text": turn.text})
    parts += [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.arguments} for c in turn.calls]
    return {"role": turn.role, "content": parts}


def _joined(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages of the same role after each other as one: all results of parallel calls belong into one."""
    found: list[dict[str, Any]] = []
    for message in messages:
        if found and found[-1]["role"] == message["role"]:
            found[-1]["content"] += message["content"]
        else:
            found.append(message)
    return found


def _mark_for_cache(body: dict[str, Data]) -> None:
    """Have the provider cache the system text, with the tools before it, and all messages so far."""
    mark = {"cache_control": {"type": "ephemeral"}}
    if body["system"]:
        body["system"] = [{"type": "text", "text": body["system"], **mark}]
    if body["messages"] and body["messages"][-1]["content"]:
        body["messages"][-1]["content"][-1].update(mark)


def _choice(request: PromptRequest) -> Data:
    """Which tools may be called; None for the default."""
    choice, alone = request.tool_choice or "auto", request.parallel_calls is False
    if choice == "auto" and not alone:
        return None
    one = choice.startswith("tool:")
    named = {"type": "tool", "name": choice.removeprefix("tool:")} if one else {"type": choice}
    return {**named, "disable_parallel_tool_use": True} if alone and choice != "none" else named


def _overlay(usage: Counts, more: Data) -> None:
    """Counts in a stream are cumulative: the later one counts."""
    if isinstance(more, Mapping):
        usage.update({name: count for name, count in more.items() if count is not None})
