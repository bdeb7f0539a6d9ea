"""`agentdeck otel export`: what a receiver gets, decoded from OTLP."""

from __future__ import annotations

import json
import logging
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agentdeck.command_hint import with_db
from agentdeck.errors import Fault, UsageError
from agentdeck.operations.span_export import SpansSent, export_spans
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.events import Usage
from agentdeck.telemetry.otlp import ReceiverError
from agentdeck.trace_ids import attempt_span_id, trace_id
from agentdeck.workflow.model import Definition
from tests.cli.conftest import Deck
from tests.telemetry.receiver import Receiver
from tests.telemetry.recording import RUN, T, append, hold, record, started, workflow

ORDER = """
name: order
agents:
  extract: { prompt: "Read ${inputs.text}", system: "Be brief", max_output: 500, tools: [python:shop:find] }
  stock: { simulate: {}, needs: extract }
  pay: { simulate: {}, needs: extract }
  confirm: { simulate: {}, needs: [pay, stock] }
inputs: { text: string }
"""
USAGE = Usage(120, 30, 100, 0.25, 0.5, "small", False, False)
EVENTS: list[Any] = [
    ev.TaskOpened(T + 1, "1", {"text": "3 x MS-12"}),
    ev.StepStarted(T + 3, "1", "extract", "extract", 1, T + 1, {"pool": 0.5, "requests": 1.5}, model="small"),
    ev.AttemptFailed(T + 4, "1", "extract", 1, Fault("rate_limit", "slow down"), None, 40),
    ev.StepRetrying(T + 4, "1", "extract", T + 5),
    ev.StepStarted(T + 5.5, "1", "extract", "extract", 2, T + 1, model="small"),
    ev.StepSucceeded(T + 9, "1", "extract", 2, {"parts": 3}, USAGE, 40),
    ev.StepStarted(T + 9, "1", "stock", "stock", 1, T + 9),
    ev.StepStarted(T + 9, "1", "pay", "pay", 1, T + 9),
    ev.StepSucceeded(T + 10, "1", "stock", 1, "there"),
    ev.StepSucceeded(T + 12.000001, "1", "pay", 1, "paid"),
    ev.StepStarted(T + 12.25, "1", "confirm", "confirm", 1, T + 12.000001),
    ev.StepSucceeded(T + 13, "1", "confirm", 1, "sent"),
    ev.TaskEnded(T + 13, "1", "done", "sent"),
    ev.RunEnded(T + 14, "done"),
]
LINES = [
    (T + 6, "1", "extract", 2, "info", '→ python:shop:find {"part": "MS-12"}'),
    (T + 7, "1", "extract", 2, "info", "← python:shop:find a screw"),
    (T + 7, "1", "pay", 1, "info", "→ not a tool"),
]


@pytest.fixture
def order(tmp_path: Path) -> Definition:
    return workflow(tmp_path, ORDER)


@pytest.fixture
def db(tmp_path: Path, order: Definition) -> Path:
    """A store with the run of one order."""
    record(tmp_path / "deck.db", order, [started(order), *EVENTS], LINES)
    return tmp_path / "deck.db"


def export(db: Path, **options: bool) -> SpansSent:
    return export_spans(str(db), RUN, **options)


def test_the_spans_of_a_run_are_one_tree(db: Path, receiver: Receiver) -> None:
    sent = export(db)
    assert (sent.spans, sent.after, sent.last, sent.running) == (len(receiver.spans), 0, 15, False)
    root = receiver.one("invoke_workflow order")
    assert root.parent == ""
    assert receiver.children(root) == [
        "invoke_agent extract", "invoke_agent stock", "invoke_agent pay", "invoke_agent confirm"
    ]  # fmt: skip
    extract = receiver.one("invoke_agent extract")
    assert receiver.children(extract) == [
        "wait pool", "wait requests", "attempt 1", "wait backoff", "wait pool", "attempt 2"
    ]  # fmt: skip
    second = receiver.one("attempt 2")
    assert receiver.children(second) == ["chat small", "execute_tool python:shop:find", "chat small"]
    assert {span.trace for span in receiver.spans} == {trace_id(RUN, "1")}
    assert second.id == attempt_span_id(RUN, "1", "extract", 2)
    ids = Counter(span.id for span in receiver.spans)
    assert set(ids.values()) == {1}
    assert {span.parent for span in receiver.spans} <= {"", *ids}


def test_times_are_those_of_the_log(db: Path, receiver: Receiver) -> None:
    export(db)

    def times(name: str) -> list[tuple[float, float]]:
        return [(round(span.start / 1e9 - T, 6), round(span.end / 1e9 - T, 6)) for span in receiver.named(name)]

    assert times("invoke_workflow order") == [(0, 14)]
    assert times("invoke_agent extract") == [(1, 9)]
    assert times("wait requests") == [(1.5, 3)]
    assert times("wait backoff") == [(4, 5)]
    assert times("wait needs") == [(1, 9), (1, 9), (1, 12.000001)]
    assert times("chat small") == [(3, 4), (5.5, 6), (7, 9)]
    assert times("execute_tool python:shop:find") == [(6, 7)]


def test_attributes_are_those_of_the_conventions(db: Path, receiver: Receiver) -> None:
    export(db)
    root = receiver.one("invoke_workflow order")
    assert (root["gen_ai.operation.name"], root["gen_ai.agent.name"]) == ("invoke_workflow", "order")
    assert (root["agentdeck.run"], root["agentdeck.run.state"], root["session.id"]) == (RUN, "done", RUN)
    extract = receiver.one("invoke_agent extract")
    assert (extract["gen_ai.operation.name"], extract["gen_ai.agent.name"]) == ("invoke_agent", "extract")
    assert (extract["agentdeck.step.state"], extract["agentdeck.attempts"]) == ("done", 2)
    assert (extract["agentdeck.waited"], extract["agentdeck.worked"]) == (3.5, 4.5)
    answer = receiver.named("chat small")[-1]
    assert answer.kind == 3  # client
    assert answer.attributes == {
        "gen_ai.operation.name": "chat", "gen_ai.agent.name": "extract", "gen_ai.request.model": "small",
        "gen_ai.usage.input_tokens": 120, "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 100, "agentdeck.usd": 0.25, "agentdeck.model": "small",
        "agentdeck.requests": 2, "agentdeck.run": RUN, "openinference.span.kind": "LLM",
        "gen_ai.request.max_tokens": 500, "gen_ai.output.type": "text",
    }  # fmt: skip
    kinds = {span.name.partition(" ")[0]: span["openinference.span.kind"] for span in receiver.spans}
    assert kinds == {
        "invoke_workflow": "CHAIN", "invoke_agent": "AGENT", "attempt": "CHAIN", "wait": "CHAIN", "chat": "LLM",
        "execute_tool": "TOOL",
    }  # fmt: skip
    assert root.resource["service.name"] == "agentdeck"


def test_usage_is_on_one_span_of_an_attempt(db: Path, receiver: Receiver) -> None:
    export(db)
    assert [span.name for span in receiver.spans if "gen_ai.usage.input_tokens" in span.attributes] == [
        "chat small"
    ]


def test_a_failed_attempt_is_an_error_and_the_step_that_went_on_is_none(db: Path, receiver: Receiver) -> None:
    export(db)
    first = receiver.named("attempt 1")[0]
    assert (first.status, first.message, first["error.type"]) == (2, "slow down", "rate_limit")
    assert receiver.named("chat small")[0]["error.type"] == "rate_limit"
    failed = [span.name for span in receiver.spans if span.status == 2]
    assert failed == ["chat small", "attempt 1"]


def test_a_step_links_to_the_steps_that_it_needed(db: Path, receiver: Receiver) -> None:
    export(db)
    ids = {span.name.removeprefix("invoke_agent "): span.id for span in receiver.spans}
    trace = trace_id(RUN, "1")
    confirm = receiver.one("invoke_agent confirm")
    assert confirm.links == [
        (trace, ids["pay"], {"agentdeck.link": "pay"}), (trace, ids["stock"], {"agentdeck.link": "stock"})
    ]  # fmt: skip
    assert receiver.one("invoke_agent extract").links == []


def test_a_second_export_sends_nothing_and_again_sends_the_same(db: Path, receiver: Receiver) -> None:
    first = export(db)
    ids = [(span.trace, span.id) for span in receiver.spans]
    assert export(db).spans == 0
    assert len(receiver.spans) == first.spans
    assert export(db, again=True).spans == first.spans
    assert [(span.trace, span.id) for span in receiver.spans[first.spans :]] == ids


def test_an_export_goes_on_where_the_log_was_left(tmp_path: Path, order: Definition, receiver: Receiver) -> None:
    whole, db = [started(order), *EVENTS], tmp_path / "deck.db"
    for n in range(1, len(whole) + 1):
        if n == 1:
            record(db, order, whole[:1], LINES, state="interrupted")
        else:
            append(db, whole[n - 1 : n], n - 1)
        assert export(db).last == n
    in_parts = {span.id: span for span in receiver.spans}
    assert len(in_parts) == len(receiver.spans)
    receiver.spans.clear()
    export(db, again=True)
    assert {span.id: span for span in receiver.spans} == in_parts


def test_a_run_that_executes_is_sent_as_far_as_it_is(deck: Deck, order: Definition, receiver: Receiver) -> None:
    record(deck.db, order, [started(order), *EVENTS[:6]], state="interrupted")
    hold(deck.db)
    sent = export(deck.db)
    assert (sent.running, sent.last) == (True, 7)
    assert receiver.one("invoke_agent extract").parent  # of a span that has not ended
    done = deck("otel", "export", "last", "--again", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert done.returncode == 0


def test_each_receiver_gets_all(db: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    first = export(db)
    other = Receiver()
    try:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{other.url}/v1/traces")
        assert export(db).spans == first.spans
        assert len(other.spans) == first.spans
    finally:
        other.close()


def test_content_only_where_it_is_wanted(db: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    export(db)
    text = repr(receiver.spans)
    assert not any(word in text for word in ("MS-12", "Be brief", "a screw", "paid"))
    receiver.spans.clear()
    export(db, again=True, content=True)
    answer = receiver.named("chat small")[-1]
    assert json.loads(answer["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Read 3 x MS-12"}]}
    ]
    assert json.loads(answer["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief"}]
    assert json.loads(answer["gen_ai.output.messages"])[0]["parts"][0]["content"] == '{"parts": 3}'
    tool = receiver.one("execute_tool python:shop:find")
    assert (tool["gen_ai.tool.call.arguments"], tool["gen_ai.tool.call.result"]) == (
        '{"part": "MS-12"}',
        "a screw",
    )
    assert receiver.one("invoke_agent pay")["output.value"] == "paid"
    root = receiver.one("invoke_workflow order")
    assert (root["input.value"], root["output.value"]) == ('{"text": "3 x MS-12"}', "sent")
    receiver.spans.clear()
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "8")
    export(db, again=True)
    assert receiver.one("invoke_workflow order")["input.value"] == '{"text"…'


def test_a_receiver_that_refuses_is_named_and_gets_the_rest_later(db: Path, receiver: Receiver) -> None:
    receiver.answers.append(400)
    with pytest.raises(ReceiverError, match=r"does not take the spans: 400 .*agentdeck otel export r1"):
        export(db)
    assert with_db("agentdeck otel export last", "b.db") == "agentdeck otel export last --db b.db"
    assert receiver.requests == 1  # no answer makes a bad request better
    assert export(db).spans == len(receiver.spans) > 0


def test_text_that_is_no_unicode_arrives_escaped(tmp_path: Path, order: Definition, receiver: Receiver) -> None:
    fault = Fault("exception", "no \ud800")
    events = [ev.AttemptFailed(T + 4, "1", "extract", 1, fault), ev.StepFailed(T + 4, "1", "extract", fault)]
    record(tmp_path / "deck.db", order, [started(order), *EVENTS[:2], *events], state="interrupted")
    export(tmp_path / "deck.db")
    assert receiver.one("invoke_agent extract").message == "no \\ud800"


def test_other_users_of_the_exporter_keep_their_log(
    db: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    receiver.answers.append(400)
    with pytest.raises(ReceiverError):
        export(db)
    assert caplog.records == []
    logging.getLogger(name).warning("of another one")
    assert [one.name for one in caplog.records] == [name]


def test_a_receiver_that_is_busy_is_asked_again(db: Path, receiver: Receiver) -> None:
    receiver.answers.append(503)
    assert export(db).spans == len(receiver.spans)
    assert receiver.requests == 2


def test_a_receiver_that_is_down_is_given_up(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2.5")
    with pytest.raises(ReceiverError, match="connection refused; 0 of r1 were sent, from event 1 on"):
        export(db)


def test_standard_settings_are_honoured(db: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc,x-tenant=7")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES", "openinference.project.name=orders,deployment.environment.name=test"
    )
    export(db)
    assert (receiver.headers["authorization"], receiver.headers["x-tenant"]) == ("Bearer abc", "7")
    resource = receiver.spans[0].resource
    assert (resource["service.name"], resource["openinference.project.name"]) == ("shop", "orders")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_SDK_DISABLED", "true", "OTEL_SDK_DISABLED=true turns the export of spans off"),
        ("OTEL_TRACES_EXPORTER", "none", "OTEL_TRACES_EXPORTER=none turns"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "localhost:4318",
            "OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4318: this is no http:// or https:// URL",
        ),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1", "this is no http:// or https:// URL"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "agentdeck speaks http/protobuf only"),
    ],
)
def test_settings_that_send_nothing_are_named(
    db: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=said):
        export(db)


def test_passwords_of_a_receiver_are_not_shown(
    db: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = receiver.url.replace("http://", "http://ada:secret@")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    sent = export(db)
    assert sent.receiver == f"{receiver.url}/v1/traces"
    assert receiver.headers["authorization"].startswith("Basic ")


def test_the_command_line(deck: Deck, receiver: Receiver, order: Definition) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    nothing = deck("otel", "export", "last", **env)
    assert (nothing.returncode, "no runs yet" in nothing.stderr) == (2, True)
    record(deck.db, order, [started(order), *EVENTS])
    unknown = deck("otel", "export", "nope", **env)
    assert (unknown.returncode, "no run nope" in unknown.stderr) == (2, True)
    done = deck("otel", "export", "last", **env)
    assert done.returncode == 0
    assert done.stdout == f"r1: {len(receiver.spans)} spans sent to {receiver.url}/v1/traces (events 1 to 15)\n"
    assert "has all spans up to event 15" in deck("otel", "export", "last", **env).stdout
    told = json.loads(deck("otel", "export", "last", "--again", "--json", **env).stdout)
    assert (told["spans"] * 2, told["after"], told["last"]) == (len(receiver.spans), 0, 15)
    down = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "0.1"}
    assert deck("otel", "export", "last", **down).returncode == 3


def test_without_the_extra_it_says_how_to_install_it(deck: Deck, order: Definition) -> None:
    record(deck.db, order, [started(order), *EVENTS])
    broken = deck.folder / "opentelemetry"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('not here')\n")
    done = subprocess.run(
        deck.command(("otel", "export", "last")), env={**deck.env, "PYTHONPATH": str(deck.folder)},
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'agentdeck[otel]'" in done.stderr
