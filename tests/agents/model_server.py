"""A server that answers coding agents in the protocols of Anthropic, OpenAI (both) and Gemini: first with a
call of a tool, then with text; or with an error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TEXT = "The answer is 42."
COMMAND = "echo hello-tool"
#: The same for the tool of Codex.
SCRIPT = f"const r = await tools.exec_command({{cmd: '{COMMAND}'}}); text(r);"

#: With which arguments a tool of this name is called.
GIVEN = {"Bash": {"command": COMMAND}, "exec": {"input": SCRIPT}, "weather": {"city": "Bonn"}}


class ModelServer:
    """Answers on 127.0.0.1 until it is closed. `status` is the error that it answers with; 0: none."""

    def __init__(self, status: int = 0) -> None:
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self.reply(200, b"", "text/plain")

            def do_GET(self) -> None:
                self.reply(404, b"{}", "application/json")

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
                server.paths.append(self.path)
                if status:
                    error = {"type": "error", "error": {"type": "api_error", "message": "no luck"}}
                    self.reply(status, json.dumps(error).encode(), "application/json")
                elif "/chat/completions" in self.path:
                    self.stream(chat(body), named=False)
                elif "/responses" in self.path:
                    self.stream(openai(body))
                elif "enerateContent" in self.path:
                    self.stream(gemini(body), named=False)
                else:
                    self.stream(anthropic(body))

            def stream(self, events: Sequence[dict[str, Any]], named: bool = True) -> None:
                text = "".join(
                    (f"event: {event['type']}\n" if named else "") + f"data: {json.dumps(event)}\n\n"
                    for event in events
                )
                self.reply(200, text.encode(), "text/event-stream")

            def reply(self, code: int, body: bytes, kind: str) -> None:
                self.send_response(code)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def anthropic(body: dict[str, Any]) -> list[dict[str, Any]]:
    usage = {"input_tokens": 30, "output_tokens": 1, "cache_read_input_tokens": 5}
    first: dict[str, Any] = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": [],
    }
    called = "tool_result" in json.dumps(body.get("messages", []))
    offered = {tool["name"] for tool in body.get("tools", [])}
    name = next((one for one in GIVEN if one in offered), "")
    if name and not called:
        block: dict[str, Any] = {"type": "tool_use", "id": "t1", "name": name, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": json.dumps(GIVEN[name])}]
        reason = "tool_use"
    else:
        block, reason = {"type": "text", "text": ""}, "end_turn"
        deltas = [{"type": "text_delta", "text": piece} for piece in ("The answer ", "is 42.")]
    return [
        {"type": "message_start", "message": {**first, "stop_reason": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]


def chat(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Chat completions, as a provider of the gateway answers: a call of the first tool that takes what it needs,
    then text."""
    called = any(message["role"] == "tool" for message in body["messages"])
    tools = {tool["function"]["name"] for tool in body.get("tools", [])}
    name = next((one for one in GIVEN if one in tools), "")
    reason = "stop"
    deltas: list[dict[str, Any]] = [{"content": piece} for piece in ("The answer ", "is 42.")]
    if name and not called:
        made = {"name": name, "arguments": json.dumps(GIVEN[name])}
        reason, deltas = (
            "tool_calls",
            [{"tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": made}]}],
        )
    usage = {"prompt_tokens": 30, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 5}}
    return [
        *({"choices": [{"index": 0, "delta": delta}]} for delta in deltas),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": usage},
    ]


def openai(body: dict[str, Any]) -> list[dict[str, Any]]:
    called = any(item.get("type") == "custom_tool_call_output" for item in body["input"])
    call = {"type": "custom_tool_call", "id": "t1", "call_id": "c1", "name": "exec", "input": SCRIPT}
    content = [{"type": "output_text", "text": TEXT, "annotations": []}]
    message = {"type": "message", "id": "m1", "role": "assistant", "content": content}
    details = {"input_tokens_details": {"cached_tokens": 5}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": 30, "output_tokens": 7, "total_tokens": 37, **details}
    item = message if called else call
    return [
        {"type": "response.created", "response": {"id": "r1"}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"id": "r1", "usage": usage, "output": [item]}},
    ]


def gemini(body: dict[str, Any]) -> list[dict[str, Any]]:
    called = "functionResponse" in json.dumps(body.get("contents", []))
    call = {"functionCall": {"name": "list_directory", "args": {"dir_path": "."}}}
    counts = {"promptTokenCount": 30, "candidatesTokenCount": 7, "totalTokenCount": 37}
    content = {"role": "model", "parts": [{"text": TEXT} if called else call]}
    return [
        {
            "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {**counts, "cachedContentTokenCount": 5},
        }
    ]
