"""Calls through the gateway, through the engine, on virtual time: the clients are agents in this process."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from agentdeck.agents.function_call import Context, GatewayAccess
from agentdeck.engine.launch import Launch, Outcome, Watch, run
from agentdeck.engine.log_lines import LogLine
from agentdeck.engine.run_control import RunControl
from agentdeck.errors import Fault, StepError
from agentdeck.gateway.http_server import MOST_BODY, HttpServer
from agentdeck.providers.provider import PromptReply, PromptRequest, ToolCall
from agentdeck.providers.registry import ProviderRegistry
from agentdeck.scheduler import events as ev
from agentdeck.workflow.loader import loads
from tests.engine.window import worst
from tests.observing import EventCollector
from tests.virtual_clock import LoopClock, virtual

DECK = """
agentdeck: 1
providers:
  one: { type: simulated, limits: { LIMITS } }
  two: { type: simulated }
models:
  big: { provider: one, id: big-id, price: { in: 10, out: 10 } }
  small: { provider: two, id: small-id, price: { in: 1, out: 1 } }
tiers: { execution: TIER, routing: [small] }
gateway: { models: { "gpt-*": execution, "claude-haiku-*": routing, default: execution } }
"""
WORK = "agents: { ask: { python: 'm:ask', gateway: true, timeout: 1h, retry: 1 } }\n"
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
#: The same question in each API, and where its answer has the text.
QUESTIONS: dict[str, dict[str, Any]] = {
    CHAT: {"model": "gpt-5", "messages": [{"role": "user", "content": "How are you?"}]},
    RESPONSES: {"model": "gpt-5", "input": "How are you?"},
    MESSAGES: {
        "model": "claude-opus-5",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "How are you?"}],
    },
}
REPLY = PromptReply("I am well.", (), 10, 5, 4)

Ask = Callable[["Client"], Awaitable[Any]]


class Client:
    """An HTTP client with the key of an attempt."""

    def __init__(self, gateway: GatewayAccess) -> None:
        self.gateway = gateway
        self.http = httpx.AsyncClient(base_url=gateway.anthropic_base_url, timeout=None, trust_env=False)

    async def post(self, path: str, body: Any = None, key: str = "", **more: Any) -> httpx.Response:
        given = {**QUESTIONS.get(path, {}), **(body or {}), **more}
        return await self.http.post(
            path, json=given, headers={"authorization": f"Bearer {key or self.gateway.key}"}
        )


class Fake:
    """A provider that answers as it is told, in pieces, and remembers when it was asked."""

    def __init__(self, *answers: PromptReply | StepError, takes: float = 1.0) -> None:
        self.calls: list[tuple[float, PromptRequest]] = []
        self.most = self.at_once = 0
        self._answers = list(answers)
        self._takes = takes

    async def answer(
        self, request: PromptRequest, on_text: Callable[[str], None], on_sent: Callable[[], None]
    ) -> PromptReply:
        self.calls.append((LoopClock().now(), request))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            on_sent()
            on_text("")
            await anyio.sleep(self._takes / 2)
            found = (
                (self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]) if self._answers else REPLY
            )
            text = found.fault.detail if isinstance(found, StepError) else found.text
            for piece in (text[: len(text) // 2], text[len(text) // 2 :]):
                on_text(piece)
                await anyio.sleep(self._takes / 4)
            if isinstance(found, StepError):
                raise found
            return found
        finally:
            self.at_once -= 1

    async def close(self) -> None:
        pass


class Played:
    """A run of an agent that makes calls, on virtual time, with its log."""

    def __init__(
        self,
        folder: Path,
        ask: Ask,
        *fakes: Fake,
        work: str = WORK,
        limits: str = "",
        tier: str = "[big, small]",
        tasks: int = 1,
        workers: int = 4,
        steer: Callable[[RunControl], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        (folder / "deck.yaml").write_text(DECK.replace("LIMITS", limits).replace("TIER", tier))
        definition = loads("agentdeck: 1\nname: w\n" + work).definition
        self.lines: list[LogLine] = []
        self.results: list[Any] = []
        self.client: Client | None = None
        collector, control = EventCollector(), RunControl("eva")
        made = dict(zip(("one", "two"), fakes, strict=False))

        async def function(ctx: Context) -> Any:
            assert ctx.gateway is not None
            self.client = Client(ctx.gateway)
            async with self.client.http:
                self.results.append(await ask(self.client))
            return "asked"

        async def main() -> Outcome:
            launch = Launch(definition, folder, {}, [{}] * tasks, workers, {"ask": function})
            async with anyio.create_task_group() as group:
                if steer is not None:
                    group.start_soon(steer, control)
                outcome = await run(launch, Watch([collector], self.lines.append, control), LoopClock())
                group.cancel_scope.cancel()
            return outcome

        make = ProviderRegistry._make
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(ProviderRegistry, "_make", lambda of, name: made.get(name) or make(of, name))
            self.outcome = anyio.run(main, backend_options=virtual())
        self.log = collector.events

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.log if type(event) is kind]

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)


def text_of(path: str, answer: dict[str, Any]) -> str:
    """The text of a whole answer."""
    if path == CHAT:
        return str(answer["choices"][0]["message"]["content"])
    return str((answer["output"][0] if path == RESPONSES else answer)["content"][0]["text"])


def events_of(text: str) -> list[dict[str, Any]]:
    """The events of a stream."""
    data = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(one) for one in data if one != "[DONE]"]


@pytest.mark.parametrize("path", QUESTIONS)
def test_a_call_is_a_nested_step_with_its_cost_and_its_text(tmp_path: Path, path: str) -> None:
    async def ask(client: Client) -> Any:
        return (await client.post(path)).json()

    fake = Fake()
    played = Played(tmp_path, ask, fake, workers=1)
    assert text_of(path, played.results[0]) == "I am well."
    (_, request), *_ = fake.calls
    assert (request.model, request.messages[0].text) == ("big-id", "How are you?")
    view = played.outcome.view
    called = view.agents["ask/execution"]
    assert (called.steps["done"], called.tokens_in, called.tokens_out) == (1, 10, 5)
    assert view.usd == pytest.approx(15 * 10 / 1e6)
    assert "I am \nwell." in played.text
    assert played.outcome.state == "done"


@pytest.mark.parametrize("path", QUESTIONS)
def test_streams(tmp_path: Path, path: str) -> None:
    async def ask(client: Client) -> Any:
        more = {"stream_options": {"include_usage": True}} if path == CHAT else {}
        answer = await client.post(path, more, stream=True)
        assert answer.headers["content-type"] == "text/event-stream"
        return answer.text

    played = Played(tmp_path, ask, Fake())
    events = events_of(played.results[0])
    if path == CHAT:
        text = "".join(e["choices"][0]["delta"].get("content") or "" for e in events if e["choices"])
        assert events[-1]["usage"]["total_tokens"] == 15
        assert events[-2]["choices"][0]["finish_reason"] == "stop"
        assert played.results[0].endswith("data: [DONE]\n\n")
    elif path == RESPONSES:
        text = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
        assert [e["sequence_number"] for e in events] == list(range(len(events)))
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == text
        assert events[-1]["response"]["usage"]["total_tokens"] == 15
    else:
        text = "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta")
        assert events[-2]["usage"] == {
            "input_tokens": 6,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 0,
            "output_tokens": 5,
        }
        assert events[-1]["type"] == "message_stop"
    assert text == "I am well."


CALLS = (ToolCall("c1", "weather", {"city": "Köln"}), ToolCall("c2", "time", {}))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", QUESTIONS)
def test_tools_are_called_in_parallel_and_their_results_passed_on(
    tmp_path: Path, path: str, stream: bool
) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    function = {"name": "weather", "description": "The weather.", "parameters": schema}
    tools: Any = {
        CHAT: [{"type": "function", "function": function}],
        RESPONSES: [{"type": "function", **function}, {"type": "custom", "name": "time"}],
        MESSAGES: [{"name": "weather", "description": "The weather.", "input_schema": schema}],
    }[path]
    turns: Any = {
        CHAT: {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "c0",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city": "Bonn"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "c0", "content": "rain"},
            ]
        },
        RESPONSES: {
            "instructions": "Be brief.",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
                {"type": "reasoning", "summary": []},
                {"type": "function_call", "call_id": "c0", "name": "weather", "arguments": '{"city": "Bonn"}'},
                {"type": "function_call_output", "call_id": "c0", "output": "rain"},
            ],
        },
        MESSAGES: {
            "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": "Weather?"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "…", "signature": "s"},
                        {"type": "tool_use", "id": "c0", "name": "weather", "input": {"city": "Bonn"}},
                    ],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c0", "content": "rain"}]},
            ],
        },
    }[path]

    async def ask(client: Client) -> Any:
        answer = await client.post(path, turns, tools=tools, stream=stream)
        return events_of(answer.text) if stream else answer.json()

    fake = Fake(PromptReply("", CALLS, 10, 5, 0, "tools"))
    found = Played(tmp_path, ask, fake).results[0]
    (_, request), *_ = fake.calls
    assert request.system == "Be brief."
    assert [turn.role for turn in request.messages] == ["user", "assistant", "tool"]
    assert request.messages[1].calls == [ToolCall("c0", "weather", {"city": "Bonn"})]
    assert (request.messages[2].text, request.messages[2].call) == ("rain", "c0")
    assert request.tools[0][:2] == ("weather", "The weather.")
    assert request.cache is (path == MESSAGES)
    made = json.dumps(found, ensure_ascii=False)
    for call in ("c1", "c2", "weather", "time", "Köln"):
        assert call in made
    ended = {CHAT: "tool_calls", RESPONSES: "completed", MESSAGES: "tool_use"}[path]
    assert f'"{ended}"' in made
    if path == RESPONSES:
        assert "custom_tool_call" in made


def test_tools_that_codex_adds_in_namespaces_are_called_by_their_own_names(tmp_path: Path) -> None:
    inner = [{"type": "custom", "name": "exec", "format": {"type": "grammar"}}]
    clock = [{"type": "function", "name": "sleep", "parameters": {"type": "object"}}]
    spaces = [
        {"type": "namespace", "name": "functions", "tools": inner},
        {"type": "namespace", "name": "clock", "tools": clock},
    ]
    items: list[Any] = [
        {"type": "additional_tools", "role": "developer", "tools": spaces},
        {"role": "user", "content": "Wait."},
        {"type": "custom_tool_call", "call_id": "c0", "name": "exec", "input": "1 + 1"},
        {"type": "custom_tool_call_output", "call_id": "c0", "output": "2"},
    ]

    async def ask(client: Client) -> Any:
        answer = (await client.post(RESPONSES, input=items)).json()
        return [(one["type"], one["name"], one.get("namespace")) for one in answer["output"]]

    calls = ToolCall("c1", "exec", {"input": "2 + 2"}), ToolCall("c2", "clock__sleep", {})
    fake = Fake(PromptReply("", calls, 10, 5, 0, "tools"))
    found = Played(tmp_path, ask, fake).results[0]
    assert found == [("custom_tool_call", "exec", "functions"), ("function_call", "sleep", "clock")]
    (_, request), *_ = fake.calls
    assert [tool.name for tool in request.tools] == ["exec", "clock__sleep"]
    assert "grammar" in request.tools[0].about
    assert request.messages[1].calls == [ToolCall("c0", "exec", {"input": "1 + 1"})]


def test_only_the_key_of_a_running_attempt_is_accepted(tmp_path: Path) -> None:
    async def ask(client: Client) -> Any:
        wrong = await client.post(CHAT, key="other")
        none = await client.http.post(CHAT, json={})
        header = {"x-api-key": client.gateway.key}
        listed = await client.http.get("/v1/models", headers=header)
        head = await client.http.head("/v1/models", headers=header)
        return wrong, none, listed, head

    played = Played(tmp_path, ask)
    wrong, none, listed, head = played.results[0]
    assert (wrong.status_code, none.status_code, head.status_code) == (401, 401, 200)
    assert wrong.json()["error"]["code"] == "invalid_api_key"
    assert [one["id"] for one in listed.json()["data"]] == ["big", "small", "execution", "routing"]
    assert not played.of(ev.StepFailed)


def test_a_key_ends_with_its_attempt(tmp_path: Path) -> None:
    keys: list[str] = []

    async def ask(client: Client) -> Any:
        keys.append(client.gateway.key)
        if len(keys) == 2:
            return (await client.post(CHAT, key=keys[0])).status_code, (await client.post(CHAT)).status_code
        return None

    assert Played(tmp_path, ask, Fake(), tasks=2, workers=1).results[1] == (401, 200)
    assert keys[0] != keys[1]


def test_the_key_is_never_recorded(tmp_path: Path) -> None:
    async def ask(client: Client) -> Any:
        print("my key is", client.gateway.key)
        await client.post(CHAT, messages=[{"role": "user", "content": f"Keep {client.gateway.key}."}])
        raise ValueError(client.gateway.key)

    played = Played(tmp_path, ask, Fake())
    assert played.client is not None
    assert played.client.gateway.key not in repr(played.log) + played.text
    assert "my key is" in played.text


@pytest.mark.parametrize(
    ("path", "body", "status", "named"),
    [
        (CHAT, {"n": 2}, 400, "n has to be 1"),
        (CHAT, {"logit_bias": {"1": 5}}, 400, "logit_bias is not supported"),
        (CHAT, {"messages": []}, 400, "messages is empty"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            400,
            "messages[0].content[0]",
        ),
        (CHAT, {"max_tokens": "x"}, 400, "max_tokens has to be a whole number"),
        (CHAT, {"model": "x" * 5}, 200, ""),
        (RESPONSES, {"previous_response_id": "r"}, 400, "previous_response_id is not supported"),
        (RESPONSES, {"tools": [{"type": "web_search"}]}, 400, "tools[0] is of the type 'web_search'"),
        (MESSAGES, {"messages": [{"role": "user", "content": [{"type": "document"}]}]}, 400, "content[0]"),
        (MESSAGES, {"tools": [{"type": "bash_20250124", "name": "bash"}]}, 400, "tools[0]"),
        (MESSAGES, {"container": "c"}, 400, "container is not supported"),
        ("/v1/embeddings", {}, 404, "has no /v1/embeddings"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(
    tmp_path: Path, path: str, body: dict[str, Any], status: int, named: str
) -> None:
    async def ask(client: Client) -> Any:
        return await client.post(path, body)

    played = Played(tmp_path, ask, Fake())
    answer = played.results[0]
    assert (answer.status_code, named in answer.text) == (status, True)
    assert bool(played.of(ev.StepFailed)) is False
    if status != 200:
        assert answer.headers["x-should-retry"] == "false"
        assert ("type" in answer.json()) is (path == MESSAGES), "in the form of the API"


def test_bodies_are_bounded_and_have_to_be_json(tmp_path: Path) -> None:
    async def ask(client: Client) -> Any:
        header = {"authorization": f"Bearer {client.gateway.key}"}
        large = await client.http.post(CHAT, content=b"x" * (MOST_BODY + 1), headers=header)

        async def pieces() -> Any:
            for _ in range(MOST_BODY // 2**20 + 1):
                yield b"x" * 2**20

        chunked = await client.http.post(CHAT, content=pieces(), headers=header)
        words = await client.http.post(CHAT, content=b"hello", headers=header)
        return [answer.status_code for answer in (large, chunked, words)]

    assert Played(tmp_path, ask, Fake()).results == [[413, 413, 400]]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_closes_its_connection_cancels_its_call(tmp_path: Path, stream: bool) -> None:
    async def ask(client: Client) -> Any:
        with anyio.move_on_after(5.0):
            await client.post(CHAT, stream=stream)
        await anyio.sleep(1.0)

    fake = Fake(takes=100.0)
    played = Played(tmp_path, ask, fake)
    (cancelled,) = played.of(ev.StepCancelled)
    assert cancelled.why == "cancelled by its client, which closed the connection"
    assert cancelled.usage.estimated
    assert fake.at_once == 0
    assert played.outcome.state == "done"


def test_a_call_is_tried_again_and_by_the_next_model(tmp_path: Path) -> None:
    async def ask(client: Client) -> Any:
        return (await client.post(CHAT)).json()

    played = Played(tmp_path, ask, Fake(StepError("server", "no"), StepError("context", "long")), Fake(REPLY))
    assert text_of(CHAT, played.results[0]) == "I am well."
    assert [e.fault.kind for e in played.of(ev.AttemptFailed)] == ["server", "context"]
    assert [e.model for e in played.of(ev.StepStarted) if e.model] == ["big", "big", "small"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [(Fault("server", "broken"), 502), (Fault("refused", "never"), 400), (Fault("timeout", "late"), 504)],
)
def test_a_failure_reaches_the_client_and_is_no_dead_letter(tmp_path: Path, fault: Fault, status: int) -> None:
    async def ask(client: Client) -> Any:
        answer = await client.post(MESSAGES)
        return answer.status_code, answer.json()["error"]["message"]

    played = Played(tmp_path, ask, Fake(StepError(fault.kind, fault.message)), tier="[big]")
    assert played.results == [(status, fault.message)]
    assert played.outcome.view.letters == 0
    assert played.outcome.state == "done"


@pytest.mark.parametrize("path", QUESTIONS)
def test_an_answer_that_breaks_off_ends_its_stream_with_an_error(tmp_path: Path, path: str) -> None:
    """What the client has read cannot be taken back, so the call is not tried again."""

    async def ask(client: Client) -> Any:
        return (await client.post(path, stream=True)).text

    broken = StepError("network", "cut off", detail="I am")
    played = Played(tmp_path, ask, Fake(broken))
    assert len(played.of(ev.AttemptFailed)) == 1
    assert "cut off" in json.dumps(events_of(played.results[0])[-1])


def test_calls_never_exceed_a_rate_as_the_server_counts(tmp_path: Path) -> None:
    async def ask(client: Client) -> Any:
        answers = await asyncio.gather(*(client.post(CHAT) for _ in range(20)))
        return [answer.status_code for answer in answers]

    fake = Fake()
    played = Played(tmp_path, ask, fake, limits="requests: 10/min", tier="[big]", tasks=2, workers=2)
    assert played.results == [[200] * 20] * 2
    assert worst([(at, 1) for at, _ in fake.calls], 60.0) == 10
    assert played.of(ev.StepWaited)[0].reason == "requests"


def test_a_stream_that_waits_is_kept_alive(tmp_path: Path) -> None:
    async def ask(client: Client) -> Any:
        return [(await client.post(path, stream=True)).text for path in (CHAT, MESSAGES)]

    played = Played(tmp_path, ask, Fake(), limits="requests: 1/min", tier="[big]")
    assert ": keep-alive\n\n" not in played.results[0][0]
    assert played.results[0][1].count("event: ping\n") >= 5


def test_a_budget_that_asks_holds_the_call_until_more_is_granted(tmp_path: Path) -> None:
    async def ask(client: Client) -> Any:
        return [(await client.post(CHAT, max_tokens=100)).status_code for _ in range(2)], LoopClock().now()

    async def steer(control: RunControl) -> None:
        await anyio.sleep(100.0)
        control.limit("budget.tokens", 160, 10_000)
        control.unpause()

    work = WORK + "budget: { tokens: 160 }\n"
    played = Played(tmp_path, ask, Fake(PromptReply("ok", (), 50, 60)), work=work, steer=steer)
    (paused,) = played.of(ev.RunPaused)
    assert "budget of the run" in paused.why
    statuses, ended = played.results[0]
    assert statuses == [200, 200]
    assert ended > 100.0


def test_a_budget_that_stops_ends_the_run_and_says_so_to_the_client(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def ask(client: Client) -> Any:
        await client.post(CHAT, max_tokens=100)
        second = asyncio.create_task(client.post(CHAT, max_tokens=100))
        try:
            await asyncio.shield(second)
        finally:
            answer = await second  # a program has a moment between the signal and its end, too
            seen.append((answer.status_code, answer.json()["error"]["code"]))

    work = WORK + "budget: { tokens: 160, ladder: { 100%: stop } }\n"
    played = Played(tmp_path, ask, Fake(PromptReply("ok", (), 50, 60)), work=work)
    assert seen == [(402, "insufficient_quota")]
    assert played.outcome.state == "cancelled"


def test_a_low_budget_makes_calls_shorter_and_cheaper(tmp_path: Path) -> None:
    async def ask(client: Client) -> Any:
        for _ in range(2):
            await client.post(CHAT, max_tokens=100)

    work = WORK + "budget: { tokens: 1000, ladder: { 10%: reduce, 11%: downgrade, 100%: stop } }\n"
    one, two = Fake(PromptReply("ok", (), 50, 60)), Fake(PromptReply("ok", (), 50, 60))
    Played(tmp_path, ask, one, two, work=work, tier="[big]")
    assert [(request.model, request.max_output) for _, request in one.calls] == [("big-id", 100)]
    assert [(request.model, request.max_output) for _, request in two.calls] == [("small-id", 50)]


def test_names_are_mapped_to_models_and_tiers(tmp_path: Path) -> None:
    async def ask(client: Client) -> Any:
        return [(await client.post(CHAT, model=name)).json()["model"] for name in names]

    names = ["claude-haiku-4-5", "small", "gpt-4o", "anything"]
    one, two = Fake(), Fake()
    played = Played(tmp_path, ask, one, two)
    assert played.results == [names], "the client reads the name that it asked for"
    assert (len(one.calls), len(two.calls)) == (2, 2)
    asked = [(e.inputs["model"], e.called) for e in played.of(ev.TaskOpened) if e.called]
    assert asked == list(zip(names, ["routing", "small", "execution", "execution"], strict=True))


def test_many_streams_at_once_with_one_worker(tmp_path: Path) -> None:
    async def ask(client: Client) -> Any:
        answers = await asyncio.gather(*(client.post(CHAT, stream=True) for _ in range(64)))
        return [len(events_of(answer.text)) for answer in answers]

    fake = Fake()
    played = Played(tmp_path, ask, fake, workers=1)
    assert len(played.results[0]) == 64
    assert fake.most == 64
    assert not played.outcome.view.open


def test_the_agents_of_a_deck_that_says_so_use_the_gateway(tmp_path: Path) -> None:
    async def ask(client: Client) -> Any:
        return (await client.post(CHAT)).status_code

    changed = DECK.replace("gateway: { ", "gateway: { all: true, ")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tests.engine.test_gateway.DECK", changed)
        played = Played(tmp_path, ask, Fake(), work=WORK.replace("gateway: true, ", ""))
    assert played.results == [200]


def test_without_a_deck_the_simulated_provider_answers(tmp_path: Path) -> None:
    async def ask(ctx: Context) -> Any:
        assert ctx.gateway is not None
        client = Client(ctx.gateway)
        async with client.http:
            return (await client.post(CHAT)).status_code

    definition = loads("agentdeck: 1\nname: w\n" + WORK).definition
    launch = Launch(definition, tmp_path, {}, None, 1, {"ask": ask})
    outcome = anyio.run(run, launch, None, LoopClock(), backend_options=virtual())
    assert outcome.view.output == 200
    assert outcome.view.answers_simulated


def test_a_server_that_is_not_asked_for_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(HttpServer, "start", fail)
    definition = loads("agentdeck: 1\nname: w\nagents: { ask: { python: 'm:ask' } }\n").definition
    launch = Launch(definition, tmp_path, {}, None, 1, {"ask": lambda ctx: ctx.gateway})
    assert anyio.run(run, launch).view.output is None


#: Calls in another interpreter, which may have no packages.
CHILD = """
import json, os, urllib.request
def ask(ctx):
    assert ctx.gateway.key == os.environ["OPENAI_API_KEY"]
    body = json.dumps({"model": "any", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    headers = {"authorization": f"Bearer {ctx.gateway.key}", "content-type": "application/json"}
    request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", body, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return json.load(opener.open(request))["choices"][0]["finish_reason"]
"""


def test_an_agent_in_an_interpreter_of_its_own_finds_the_gateway(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(CHILD)
    deck = f"agentdeck: 1\nplaces: {{ child: {{ type: process, python: '{sys.executable}' }} }}\n"
    (tmp_path / "deck.yaml").write_text(deck)
    work = "agents: { ask: { python: 'm:ask', gateway: true, place: child, retry: 1 } }\n"
    definition = loads("agentdeck: 1\nname: w\n" + work).definition
    outcome = anyio.run(run, Launch(definition, tmp_path))
    assert outcome.view.output == "stop", outcome.view.failed
    assert outcome.view.agents["ask/execution"].steps["done"] == 1
