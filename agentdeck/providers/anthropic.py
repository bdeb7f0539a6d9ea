"""`anthropic`: the Messages API."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from agentdeck.errors import StepError
from agentdeck.providers.http_stream import EventStreamClient, HttpStream
from agentdeck.providers.images import read_image
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.output_limit import unless_limited
from agentdeck.providers.provider import Message, PromptReply, PromptRequest
from agentdeck.providers.provider_errors import mid_stream
from agentdeck.providers.rate_headers import parse_rate_headers
from agentdeck.providers.stream_answer import ENDED, StreamedAnswer, counted, of
from agentdeck.workflow.deck import Provider
from agentdeck.workflow.model import Data

URL = "https://api.anthropic.com"
VERSION = "2023-06-01"
#: The tool whose input is the typed answer.
ANSWER = "answer"


class AnthropicProvider:
    """A typed answer is requested as a call of a tool, which the model has to make."""

    def __init__(self, name: str, provider: Provider, keys: KeyStore, wire: EventStreamClient) -> None:
        self._who = name
        self._key = provider.key
        base = (provider.url or URL).rstrip("/").removesuffix("/v1")
        self._url = f"{base}/v1/messages"
        self._keys = keys
        self._wire = wire

    async def answer(
        self, request: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
    ) -> PromptReply:
        key = await self._keys.read(self._key, f"provider {self._who}")
        headers = {"anthropic-version": VERSION, **({"x-api-key": key} if key else {})}
        got = StreamedAnswer(self._who, said, ANSWER)
        body, begun = await _body(request), False
        try:
            async with self._wire.post(self._url, headers, body, sent) as stream:
                begun = True
                said("")  # the answer has begun
                return await self._read(stream, got, request.schema is not None)
        except StepError as error:
            kind, message, after, clock, detail = error.fault[:5]
            if kind == "auth":
                self._keys.refused(self._key)
            hide = self._keys.hide
            raised = StepError(
                kind, hide(message), retry_after=after, clock=clock, detail=hide(got.shown or got.text or detail)
            )
            raised.begun = begun
            raise raised from None

    async def close(self) -> None:
        await self._wire.close()

    async def _read(self, stream: HttpStream, got: StreamedAnswer, typed: bool) -> PromptReply:
        usage: dict[str, Data] = {}
        if stream.whole:
            self._whole(await stream.body(), got, usage)
            got.came()
        else:
            await stream.read(lambda event: self._take(event, got, usage), got.came)
        if not got.complete:
            raise StepError("network", f"{self._who} was cut off: the answer has no end")
        answered = got.shown_or("" if got.ended == "length" else "{}") if typed else ""
        calls, wrong = ((), "") if answered else got.calls()
        text = answered or got.text
        cached = counted(usage.get("cache_read_input_tokens"), 0)
        fresh = counted(usage.get("input_tokens"), 0)
        tokens_in = None if fresh is None else fresh + (cached or 0) + (_made(usage) or 0)
        return PromptReply(
            text,
            calls,
            counted(tokens_in, 1),
            counted(usage.get("output_tokens"), 1 if text or calls else 0),
            cached,
            "tools" if calls else "stop" if got.ended == "tools" else got.ended,
            parse_rate_headers(stream.headers),
            thought=got.thought,
            wrong=got.wrong or wrong or got.uncalled(calls, typed=typed),
        )

    def _take(self, event: Mapping[str, Data], got: StreamedAnswer, usage: dict[str, Data]) -> bool:
        """Handle one event. Returns True for the last one."""
        at = event.get("index")
        match event.get("type"):
            case "message_start":
                _overlay(usage, of(event, "message", "usage"))
            case "content_block_start":
                self._block(event.get("content_block"), at, got)
            case "content_block_delta":
                got.say(of(event, "delta", "text"))
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

    def _whole(self, body: Mapping[str, Data], got: StreamedAnswer, usage: dict[str, Data]) -> None:
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
            got.say(of(block, "text"))

    def _end(self, reason: Data, got: StreamedAnswer) -> None:
        if reason in ("refusal", "content_filter"):
            raise StepError("refused", f"{self._who} refused the content ({reason})")
        if reason == "pause_turn":
            got.wrong = "it paused its turn (pause_turn), which only tools of the provider's own need"
        named = str(reason or "")[:100]
        if ENDED.get(named) == "failed":
            raise mid_stream(self._who, {"message": f"stop_reason {named}"})
        if named:
            got.ended = ENDED.get(named, named)


async def _body(request: PromptRequest) -> dict[str, Data]:
    body: dict[str, Data] = {
        "model": request.model,
        "max_tokens": request.max_output or unless_limited(request.model),
        "stream": True,
        "messages": [await _message(turn) for turn in request.messages],
    }
    if request.system:
        body["system"] = request.system
    if request.temperature is not None:
        body["temperature"] = min(request.temperature, 1.0)
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    tools = [{"name": t.name, "description": t.about, "input_schema": t.schema} for t in request.tools]
    if request.schema is not None:
        own = {"name": ANSWER, "description": "Give the answer.", "input_schema": request.schema}
        body["tool_choice"] = {"type": "any"} if tools else {"type": "tool", "name": ANSWER}
        tools.append(own)
    if tools:
        body["tools"] = tools
    return body


async def _message(turn: Message) -> dict[str, Any]:
    if turn.role == "tool":
        result = {"type": "tool_result", "tool_use_id": turn.call, "content": turn.text}
        return {"role": "user", "content": [result]}
    parts: list[Data] = []
    for file in turn.images:
        kind, data = await read_image(file)
        parts.append({"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}})
    if turn.text:
        parts.append({"type": "text", "text": turn.text})
    parts += [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.arguments} for c in turn.calls]
    return {"role": turn.role, "content": parts}


def _overlay(usage: dict[str, Data], more: Data) -> None:
    """Counts in a stream are cumulative: the later one counts."""
    if isinstance(more, Mapping):
        usage.update({name: count for name, count in more.items() if count is not None})


def _made(usage: Mapping[str, Data]) -> int | None:
    return counted(usage.get("cache_creation_input_tokens"), 0)
