"""A provider of our own: a local HTTP server that speaks both protocols and misbehaves on demand.

How it behaves is the name of the model that is asked for, or, one request after the other, what `plan` holds.
`python -m tests.providers.server` serves until its input ends, and prints its url first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any, NamedTuple

from agentdeck.cli.run_process import new_runner
from agentdeck.providers.simulated import fitting

SENTENCE = "The tenant pays the rent on the first of each month — notice is three months"
WORDS = SENTENCE.split()
LIMITS = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-reset-requests": "1s",
    "anthropic-ratelimit-input-tokens-limit": "30000",
    "anthropic-ratelimit-input-tokens-remaining": "29000",
}


class Asked(NamedTuple):
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def key(self) -> str:
        return self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def schema(self) -> Mapping[str, Any] | None:
        if "response_format" in self.body:
            found: Mapping[str, Any] = self.body["response_format"]["json_schema"]["schema"]
            return found
        for tool in self.body.get("tools", ()):
            if tool.get("name") == "answer":
                given: Mapping[str, Any] = tool["input_schema"]
                return given
        return None


def charged(body: Mapping[str, Any], wanted: int) -> tuple[int, int]:
    """Tokens in and out that a server counts for a request whose model wants to say so many words: a token for
    each three bytes of the prompt, which is more than the usual four."""
    most = body.get("max_tokens") or body.get("max_completion_tokens") or wanted
    text = json.dumps([body.get("system", ""), *(turn["content"] for turn in body["messages"])])
    return len(text) // 3 + 10, min(wanted, most)


class Server:
    """What was asked, and what comes next."""

    talk: type[Talk]

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self.plan: dict[str, list[str]] = {}
        self.busy = self.most_busy = self.connections = 0
        self._open: set[asyncio.StreamWriter] = set()

    def close(self) -> None:
        """All connections."""
        for writer in self._open:
            writer.close()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._serve(reader, writer):
                pass
        self._open.discard(writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line = await reader.readline()
        if not line:
            return False
        path = line.split()[1].decode()
        headers = {}
        while (line := await reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            headers[name.strip().lower()] = value.strip()
        body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or b"{}")
        asked = Asked(path, headers, body)
        self.asked.append(asked)
        plan = self.plan.get(body.get("model", ""), [])
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            return await self.talk(asked, writer, path.endswith("/messages")).go(
                plan.pop(0) if plan else str(body.get("model", ""))
            )
        finally:
            self.busy -= 1


class Talk:
    """One request and its answer. Each method named like a behaviour says whether the connection stays."""

    def __init__(self, asked: Asked, writer: asyncio.StreamWriter, anthropic: bool) -> None:
        self.asked = asked
        self.writer = writer
        self.anthropic = anthropic
        self.held: bytearray | None = None  # what is to go out together
        self.packer: Any = None
        self.loose = False  # the body has no end
        self.prompt_tokens = 25

    async def go(self, how: str) -> bool:
        name, _, rest = how.partition("-")
        does = getattr(self, f"do_{name}", None) or self.do_ok
        return bool(await does(rest) if rest else await does())

    # Wire

    def head(self, status: int = 200, kind: str = "text/event-stream", **more: str) -> None:
        headers = {"content-type": kind, "transfer-encoding": "chunked", **LIMITS}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        if self.packer is not None:
            headers["content-encoding"] = "gzip"
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())

    def send(self, data: bytes) -> None:
        if self.packer is not None and data:
            data = self.packer.compress(data) + self.packer.flush(zlib.Z_SYNC_FLUSH)
        if self.held is not None:
            self.held += data
        elif data:
            self.writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end(self) -> bool:
        held, self.held = self.held, None
        self.send(bytes(held or b""))
        if not self.loose:
            self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()
        return not self.loose

    async def refuse(self, status: int, kind: str, message: str, code: str = "", **headers: str) -> bool:
        error: dict[str, Any] = {"type": kind, "message": message}
        if not self.anthropic:
            error |= {"param": None, "code": code or None}
        body = {"type": "error", "error": error} if self.anthropic else {"error": error}
        self.head(status, "application/json", **headers)
        self.send(json.dumps(body).encode())
        return await self.end()

    def event(self, data: Mapping[str, Any]) -> None:
        name = f"event: {data['type']}\n" if self.anthropic else ""
        self.send(f"{name}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode())

    # Pieces of an answer

    def start(self) -> None:
        self.head()
        if self.anthropic:
            fresh = self.prompt_tokens - 5
            usage = {"input_tokens": fresh, "cache_read_input_tokens": 5, "output_tokens": 1}
            self.event({"type": "message_start", "message": {"content": [], "usage": usage}})
            self.event({"type": "ping"})
            block = {"type": "text", "text": ""}
            if self.asked.schema is not None:
                block = {"type": "tool_use", "id": "call_1", "name": "answer", "input": {}}  # type: ignore[dict-item]
            self.event({"type": "content_block_start", "index": 0, "content_block": block})
        else:
            self.delta({"role": "assistant", "content": ""})

    def delta(self, delta: Mapping[str, Any], ended: str | None = None) -> None:
        self.event({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": ended}]})

    def word(self, text: str) -> None:
        if not self.anthropic:
            self.delta({"content": text})
        elif self.asked.schema is not None:
            delta = {"type": "input_json_delta", "partial_json": text}
            self.event({"type": "content_block_delta", "index": 0, "delta": delta})
        else:
            delta = {"type": "text_delta", "text": text}
            self.event({"type": "content_block_delta", "index": 0, "delta": delta})

    async def finish(self, count: int, *, usage: bool = True, reason: str = "") -> bool:
        if self.anthropic:
            self.event({"type": "content_block_stop", "index": 0})
            used = {"usage": {"output_tokens": count}} if usage else {}
            self.event({"type": "message_delta", "delta": {"stop_reason": reason or "end_turn"}, **used})
            self.event({"type": "message_stop"})
        else:
            self.delta({}, reason or "stop")
            if usage:
                cached = {"prompt_tokens_details": {"cached_tokens": 5}}
                counts = {"prompt_tokens": self.prompt_tokens, "completion_tokens": count}
                self.event({"choices": [], "usage": {**counts, **cached}})
            self.send(b"data: [DONE]\n\n")
        return await self.end()

    def words(self) -> list[str]:
        if self.asked.schema is not None:
            text = json.dumps(fitting(self.asked.schema, Random(len(str(self.asked.body)))))
            return [text[at : at + 7] for at in range(0, len(text), 7)]
        return [word if at == 0 else f" {word}" for at, word in enumerate(WORDS)]

    async def say(self, words: list[str], begun: bool = False) -> bool:
        if not begun:
            self.start()
        for word in words:
            self.word(word)
            await self.writer.drain()
        return await self.finish(len(words))

    # Behaviours

    async def do_ok(self, *_: str) -> bool:
        return await self.say(self.words())

    async def do_bench(self, count: str) -> bool:
        return await self.say([f" word{at}" for at in range(int(count))])

    async def do_charge(self, wanted: str) -> bool:
        """Wants to say so many words, says no more than it may, and counts what `charged` counts."""
        self.prompt_tokens, count = charged(self.asked.body, int(wanted))
        self.start()
        for _ in range(count):
            self.word(" word")
        await self.writer.drain()
        cut = count < int(wanted)
        return await self.finish(count, reason=("max_tokens" if self.anthropic else "length") if cut else "")

    async def do_after(self, seconds: str) -> bool:
        """Thinks, and then says all of it at once."""
        self.start()
        await asyncio.sleep(float(seconds))
        self.held = bytearray()
        return await self.say(self.words(), begun=True)

    async def do_pace(self, seconds: str) -> bool:
        begin = asyncio.get_running_loop().time()
        self.start()
        words = self.words()
        for number, word in enumerate(words, 1):
            due = begin + float(seconds) * number / len(words)
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            self.word(word)
        return await self.finish(len(words))

    async def do_stall(self) -> bool:
        self.start()
        self.word("Half an")
        await self.writer.drain()
        await asyncio.sleep(30)
        return False

    async def do_cut(self) -> bool:
        self.start()
        self.word("Half an")
        self.word(" answer")
        await self.writer.drain()
        return False

    async def do_mumble(self) -> bool:
        """Keeps the connection alive, and says nothing."""
        self.start()
        self.word("Half an")
        for _ in range(600):
            self.send(b": still there\n\n")
            await self.writer.drain()
            await asyncio.sleep(0.05)
        return False

    async def do_loose(self) -> bool:
        """Says all, and goes without closing the door."""
        self.loose = True
        return await self.do_ok()

    async def do_endless(self) -> bool:
        """Ends cleanly, but without saying so."""
        self.start()
        self.word("Half an answer")
        self.send(b"data: [DONE]\n\n")
        return await self.end()

    async def do_unfinished(self) -> bool:
        self.start()
        self.word("Half an answer")
        return await self.end()

    async def do_packed(self) -> bool:
        """As some gateways do, whoever asks for it or not."""
        self.packer = zlib.compressobj(wbits=31)
        return await self.do_ok()

    async def do_length(self) -> bool:
        self.start()
        self.word("Too long")
        return await self.finish(2, reason="max_tokens" if self.anthropic else "length")

    async def do_room(self, tokens: str) -> bool:
        """An answer of so many tokens, cut where fewer are allowed."""
        allowed = self.asked.body.get("max_tokens") or self.asked.body.get("max_completion_tokens") or 10**9
        if allowed >= int(tokens):
            return await self.do_ok()
        self.start()
        self.word('{"n": ')
        return await self.finish(allowed, reason="max_tokens" if self.anthropic else "length")

    async def do_prose(self) -> bool:
        return await self.say(["No JSON", " here"])

    async def do_filtered(self) -> bool:
        self.start()
        return await self.finish(0, reason="refusal" if self.anthropic else "content_filter")

    async def do_limited(self) -> bool:
        return await self.refuse(429, "rate_limit_error", "slower", "rate_limit_exceeded", retry_after="0.05")

    async def do_slower(self, seconds: str) -> bool:
        return await self.refuse(429, "rate_limit_error", "slower", "rate_limit_exceeded", retry_after=seconds)

    async def do_quota(self) -> bool:
        return await self.refuse(
            429, "insufficient_quota", "You exceeded it", "insufficient_quota", retry_after="1"
        )

    async def do_overloaded(self) -> bool:
        return await self.refuse(529, "overloaded_error", "Overloaded")

    async def do_broken(self) -> bool:
        return await self.refuse(500, "api_error", "it broke")

    async def do_badgateway(self) -> bool:
        self.head(502, "text/html")
        self.send(b"<html><h1>502 Bad Gateway</h1></html>")
        return await self.end()

    async def do_keyed(self, key: str) -> bool:
        """Takes this key only."""
        return await (self.do_ok() if self.asked.key == key else self.do_auth())

    async def do_auth(self) -> bool:
        return await self.refuse(401, "authentication_error", f"Incorrect API key provided: {self.asked.key}")

    async def do_entitled(self, key: str) -> bool:
        """Answers 403 to any other key."""
        if self.asked.key == key:
            return await self.do_ok()
        return await self.refuse(403, "permission_error", "This API key was revoked", "invalid_api_key")

    async def do_denied(self) -> bool:
        what = "Project p does not have access to this model"
        return await self.refuse(403, "invalid_request_error", what, "model_not_found")

    async def do_flagged(self) -> bool:
        """Refuses one prompt only."""
        if "Drop tables" not in json.dumps(self.asked.body["messages"]):
            return await self.do_ok()
        return await self.refuse(403, "invalid_request_error", "Your input was flagged by moderation")

    async def do_context(self) -> bool:
        what = "prompt is too long: 210000 tokens > 200000 maximum"
        return await self.refuse(400, "invalid_request_error", what, "context_length_exceeded")

    async def do_gone(self) -> bool:
        return await self.refuse(404, "not_found_error", "no such model", "model_not_found")

    async def do_picky(self) -> bool:
        if "response_format" in self.asked.body:
            return await self.refuse(400, "invalid_request_error", "unknown parameter: response_format")
        return await self.say(['{"n": 7}'])

    async def do_llamacpp(self, status: str = "500") -> bool:
        """As llama-cpp-python's server refuses a type of `response_format` that it does not know."""
        if "response_format" in self.asked.body:
            place = "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), "
            what = "'msg': \"Input should be 'text' or 'json_object'\", 'input': 'json_schema'}]"
            return await self.refuse(int(status), "internal_server_error", place + what)
        return await self.say(['{"n": 7}'])

    async def do_repeats(self) -> bool:
        """A failure whose message holds the whole request."""
        return await self.refuse(500, "api_error", f"failed: {json.dumps(self.asked.body)}")

    async def do_nothing(self) -> bool:
        self.start()
        return await self.finish(0)

    async def do_thinks(self, *_: str) -> bool:
        """Reasons, and gives no answer."""
        self.head()
        if self.anthropic:
            self.event({"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 20}}})
            block = {"type": "thinking", "thinking": ""}
            self.event({"type": "content_block_start", "index": 0, "content_block": block})
            delta = {"type": "thinking_delta", "thinking": "Hm"}
            self.event({"type": "content_block_delta", "index": 0, "delta": delta})
        else:
            self.delta({"reasoning_content": "Hm"})
        return await self.finish(9)

    async def do_parts(self) -> bool:
        """The content as a list of parts."""
        self.head()
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
        self.delta({"role": "assistant", "content": [thought]})
        self.delta({"content": [{"type": "text", "text": "In "}, {"type": "text", "text": "parts"}]})
        return await self.finish(2)

    async def do_wholeparts(self) -> bool:
        self.head(200, "application/json")
        message = {"role": "assistant", "content": [{"type": "text", "text": "In "}, {"text": "parts"}]}
        self.send(json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode())
        return await self.end()

    async def do_reason(self, word: str) -> bool:
        """Ends with this finish_reason."""
        self.start()
        self.word("Half an answer")
        return await self.finish(2, reason=word)

    async def do_raw(self, events: str) -> bool:
        """These events, a list in JSON."""
        self.head()
        for event in json.loads(events):
            self.send(f"data: {json.dumps(event)}\n\n".encode())
        return await self.end()

    async def do_choiceerror(self) -> bool:
        self.start()
        self.word("Half an answer")
        error = {"code": 429, "message": "too much"}
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": error}]})
        return await self.end()

    async def do_marked(self) -> bool:
        """A byte order mark first, and lines that end with CR only."""
        send = self.send
        self.send = lambda data: send(data.replace(b"\n", b"\r"))  # type: ignore[method-assign]
        head = self.head

        def marked(*given: Any, **more: Any) -> None:
            head(*given, **more)
            send(b"\xef\xbb\xbf")

        self.head = marked  # type: ignore[method-assign]
        return await self.do_ok()

    async def do_shared(self, how: str = "ids") -> bool:
        """Two calls that have the same index, one after the other."""
        self.head()
        for number in (1, 2):
            id_ = {"id": f"call_{number}"} if how == "ids" else {}
            function = {"name": "sums__add", "arguments": f'{{"a": {number}, '}
            self.delta({"tool_calls": [{"index": 0, **id_, "function": function}]})
            self.delta({"tool_calls": [{"index": 0, "function": {"arguments": f'"b": {number}}}'}}]})
        return await self.finish(3, reason="tool_calls")

    async def do_unoffered(self) -> bool:
        """Some text, and a call of a tool that the request did not have."""
        self.start()
        self.word("I will")
        if self.anthropic:
            block = {"type": "tool_use", "id": "call_1", "name": "launch_rocket", "input": {}}
            self.event({"type": "content_block_start", "index": 1, "content_block": block})
            return await self.finish(3, reason="tool_use")
        function = {"name": "launch_rocket", "arguments": "{}"}
        self.delta({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]})
        return await self.finish(3, reason="tool_calls")

    async def do_halfcall(self) -> bool:
        """A call whose arguments are cut."""
        self.head()
        function = {"name": "sums__add", "arguments": '{"a": '}
        self.delta({"tool_calls": [{"index": 0, "id": "call_1", "function": function}]})
        return await self.finish(3, reason="length")

    async def do_html(self) -> bool:
        self.head(200, "text/html; charset=utf-8")
        self.send(b"<html><body>Welcome to the hotel's network</body></html>")
        return await self.end()

    async def do_text(self) -> bool:
        self.head(200, "text/plain")
        self.send(b"hello")
        return await self.end()

    async def do_nojson(self) -> bool:
        self.start()
        self.word("Half an answer")
        self.send(b"data: {malformed json: <<<chaos>>>\n\n")
        return await self.end()

    async def do_halfchar(self) -> bool:
        self.start()
        self.word("Half an answer")
        self.send(b'data: {"x": "\xe2\x80"}\n\n')
        return await self.end()

    async def do_bytewise(self) -> bool:
        """Cut in the middle of everything, also of characters."""
        outside, pieces = self.send, bytearray()
        self.send = pieces.extend  # type: ignore[method-assign, assignment]
        self.start()
        for word in self.words():
            self.word(word)
        end, self.end = self.end, self._held  # type: ignore[method-assign]
        await self.finish(len(WORDS))
        for at in range(len(pieces)):
            outside(bytes(pieces[at : at + 1]))
        self.send, self.end = outside, end  # type: ignore[method-assign]
        return await self.end()

    async def _held(self) -> bool:
        return True

    async def do_flood(self) -> bool:
        self.start()
        self.word("Half an answer")
        self.send(b"data: ")
        for _ in range(50):
            self.send(b"x" * 1024 * 1024)
            await self.writer.drain()
        return await self.end()

    async def do_nousage(self) -> bool:
        self.head()
        if self.anthropic:
            self.event({"type": "message_start", "message": {"content": []}})
            self.event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        self.word("Hello")
        return await self.finish(1, usage=False)

    async def do_headers(self) -> bool:
        self.writer.write(b"HTTP/1.1 200 OK\r\n")
        for at in range(200_000):
            self.writer.write(f"x-header-{at}: {'y' * 80}\r\n".encode())
            if at % 100 == 0:
                await self.writer.drain()
        return False

    async def do_redirect(self, port: str) -> bool:
        self.head(307, "text/plain", location=f"http://localhost:{port}{self.asked.path}?token=abc")
        return await self.end()

    async def do_event(self, kind: str) -> bool:
        """An error in the middle of a stream."""
        self.start()
        self.word("Half an answer")
        if self.anthropic:
            self.event({"type": "error", "error": {"type": kind, "message": "too much"}})
        else:
            code = {"overloaded_error": "529", "rate_limit_error": "429"}.get(kind, "500")
            self.event({"error": {"message": "too much", "type": None, "param": None, "code": code}})
        return await self.end()

    async def do_whole(self) -> bool:
        """Does not stream, though asked to."""
        self.head(200, "application/json")
        if self.anthropic:
            text = {"type": "text", "text": "All at once"}
            body: dict[str, Any] = {"content": [text], "stop_reason": "end_turn", "usage": {"input_tokens": 4}}
        else:
            message = {"role": "assistant", "content": "All at once"}
            body = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 4}}
        self.send(json.dumps(body).encode())
        return await self.end()

    async def do_garbage(self) -> bool:
        self.head(200, "application/json")
        self.send(b"{malformed json: <<<chaos>>>")
        return await self.end()

    async def do_echo(self) -> bool:
        """The key in the text of the answer, in two pieces."""
        key = self.asked.key
        return await self.say(["Your key is ", key[:5], key[5:], ", keep it"])

    async def do_tool(self) -> bool:
        """Wants the first tool called until it has been."""
        messages = self.asked.body["messages"]
        results = [m for m in messages if m["role"] == "tool"] + [
            part for m in messages if isinstance(m["content"], list) for part in m["content"]
            if part["type"] == "tool_result"
        ]  # fmt: skip
        if results:
            return await self.say([f"The tool said {results[-1]['content']}"])
        return await self.do_tools()

    async def do_tools(self) -> bool:
        """Never has enough of them."""
        tool = self.asked.body["tools"][0]
        self.head()
        if self.anthropic:
            block = {"type": "tool_use", "id": "call_1", "name": tool["name"], "input": {}}
            self.event({"type": "message_start", "message": {"usage": {"input_tokens": 20}}})
            self.event({"type": "content_block_start", "index": 0, "content_block": block})
            for piece in ('{"a": ', "2, ", '"b": 3}'):
                delta = {"type": "input_json_delta", "partial_json": piece}
                self.event({"type": "content_block_delta", "index": 0, "delta": delta})
            return await self.finish(3, reason="tool_use")
        function = {"name": tool["function"]["name"], "arguments": ""}
        self.delta({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]})
        for piece in ('{"a": ', "2, ", '"b": 3}'):
            self.delta({"content": "", "tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        return await self.finish(3, reason="tool_calls")


Server.talk = Talk


@asynccontextmanager
async def listening(
    connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """The port of a server that calls `connected` for each connection. From Python 3.12.1 on, leaving an asyncio
    server by `async with` waits for all connections, also for those that a client keeps for its next request."""
    open_: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await connected(reader, writer)
        open_.discard(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in open_:
            writer.close()


@asynccontextmanager
async def serving(secure: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on a free port of this machine."""
    server = Server()
    made = await asyncio.start_server(server.connected, "127.0.0.1", 0, backlog=512, ssl=secure)
    scheme = "https" if secure else "http"
    server.url = f"{scheme}://127.0.0.1:{made.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        made.close()


async def _main() -> None:
    async with serving() as server:
        print(server.url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with new_runner() as runner:
        runner.run(_main())
