"""Runs that send their spans while they execute."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentdeck.engine.observers import EventBatch, ObserverContext
from agentdeck.operations.span_export import export_spans
from agentdeck.store.exports import exported
from agentdeck.store.reader import Reader
from agentdeck.telemetry.observer import SpanObserver, observe_run
from agentdeck.telemetry.otlp import ReceiverError
from agentdeck.trace_ids import trace_id
from agentdeck.workflow.model import Definition
from tests.cli.conftest import QUICK, Deck
from tests.telemetry.receiver import Receiver
from tests.telemetry.recording import RUN, append, record, started, workflow
from tests.telemetry.test_export import EVENTS, ORDER
from tests.waiting import until


def run_quick(deck: Deck, **env: str) -> subprocess.CompletedProcess[str]:
    """A run in a process of its own: its observers are waited for at its end."""
    file = deck.write("quick.yaml", QUICK)
    return subprocess.run(
        deck.command(("run", file.name, "-i", "word=a", "--json")),
        env={**deck.env, "NO_PROXY": "127.0.0.1", **env},
        capture_output=True,
        text=True,
        check=False,
        cwd=deck.folder,
    )


def test_a_run_sends_its_spans(deck: Deck, receiver: Receiver) -> None:
    done = run_quick(deck, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    root = receiver.one("invoke_workflow quick")
    assert (root.trace, receiver.children(root)) == (
        trace_id(run, "1"),
        ["invoke_agent first", "invoke_agent second"],
    )
    sent = len(receiver.spans)
    assert export_spans(str(deck.db), run).spans == 0
    assert export_spans(str(deck.db), run, again=True).spans == sent
    assert len({span.id for span in receiver.spans}) == sent


def test_without_a_receiver_nothing_of_it_is_imported(deck: Deck) -> None:
    code = (
        "import sys; from agentdeck.cli.main import cli; cli.main(sys.argv[1:], standalone_mode=False);"
        "print([name for name in sys.modules if 'opentelemetry' in name or name.startswith('requests')])"
    )
    deck.write("quick.yaml", QUICK)
    for env in ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}):
        done = subprocess.run(
            [sys.executable, "-c", code, "run", "quick.yaml", "-i", "word=a"],
            env={**deck.env, **env}, capture_output=True, text=True, check=False, cwd=deck.folder,
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_receiver_that_is_down_does_not_fail_the_run(deck: Deck) -> None:
    done = run_quick(deck, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", OTEL_EXPORTER_OTLP_TIMEOUT="0.1")
    assert done.returncode == 0
    run = json.loads(done.stdout)["run"]
    assert f"events of {run} were not sent to http://127.0.0.1:1/v1/traces" in done.stderr
    assert f"agentdeck --db {deck.db} otel export {run}" in done.stderr or f"otel export {run}" in done.stderr


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4318: this is no http:// or https:// URL",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "PYTHONPATH": "."},
            "pip install 'agentdeck[otel]'",
        ),
    ],
    ids=["no URL", "no extra"],
)
def test_what_is_wrong_is_said_once_and_the_run_goes_on(deck: Deck, env: dict[str, str], said: str) -> None:
    (deck.folder / "opentelemetry").mkdir()
    (deck.folder / "opentelemetry/__init__.py").write_text("raise ImportError('not here')\n")
    done = run_quick(deck, **env)
    assert done.returncode == 0
    assert [line.count(said) for line in done.stderr.splitlines() if "observer" in line] == [1]


# One observer, called as its feed would call it --------------------------------------------------------------


@pytest.fixture
def order(tmp_path: Path) -> Definition:
    return workflow(tmp_path, ORDER)


@pytest.fixture
def whole(order: Definition) -> list[Any]:
    return [started(order), *EVENTS]


def made(order: Definition, db: Path | None, first: int = 1) -> SpanObserver:
    observer = observe_run(ObserverContext(RUN, order, db, first))
    assert isinstance(observer, SpanObserver)
    return observer


def test_a_receiver_that_comes_back_gets_all(
    tmp_path: Path,
    order: Definition,
    whole: list[Any],
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agentdeck.telemetry.observer.RETRY", (600.0, 600.0))
    db = tmp_path / "deck.db"
    record(db, order, whole[:9], state="interrupted")
    observer = made(order, db)
    receiver.answers.append(400)
    observer.observe(EventBatch(RUN, 1, whole[:9]))
    assert receiver.spans == []
    observer.observe(EventBatch(RUN, 10, whole[9:11]))  # too early to try again
    assert receiver.requests == 1
    append(db, whole[9:], 9)
    observer.observe(EventBatch(RUN, 12, whole[11:]))  # the run ends: it is tried once more
    observer.close()
    with closing(Reader(db)) as reader:
        assert exported(reader, RUN, f"{receiver.url}/v1/traces") == len(whole)
    live = {span.id: span for span in receiver.spans}
    assert len(live) == len(receiver.spans)
    receiver.spans.clear()
    export_spans(str(db), RUN, again=True)
    assert {span.id: span for span in receiver.spans} == live


def test_a_resumed_run_goes_on_where_it_was_left(
    tmp_path: Path, order: Definition, whole: list[Any], receiver: Receiver
) -> None:
    db = tmp_path / "deck.db"
    record(db, order, whole[:6], state="interrupted")
    first = made(order, db)
    first.observe(EventBatch(RUN, 1, whole[:6]))
    first.close()
    append(db, whole[6:], 6)
    second = made(order, db, 7)
    second.observe(EventBatch(RUN, 7, whole[6:]))
    second.close()
    assert len({span.id for span in receiver.spans}) == len(receiver.spans)
    assert receiver.one("invoke_agent extract").parent == receiver.one("invoke_workflow order").id


def test_what_was_not_sent_is_said(
    tmp_path: Path, order: Definition, whole: list[Any], receiver: Receiver
) -> None:
    db = tmp_path / "deck.db"
    record(db, order, whole)
    observer = made(order, db)
    receiver.answers.append(400)
    observer.observe(EventBatch(RUN, 1, whole))
    with pytest.raises(
        ReceiverError, match=r"spans of 15 events of r1 were not sent to .*: 400.* otel export r1"
    ):
        observer.close()


def test_a_run_without_a_store_sends_its_spans_too(
    order: Definition, whole: list[Any], receiver: Receiver
) -> None:
    observer = made(order, None)
    observer.observe(EventBatch(RUN, 1, whole))
    observer.close()
    assert receiver.one("invoke_workflow order")["agentdeck.run.state"] == "done"


def test_without_a_store_what_was_not_taken_is_lost_and_said(
    order: Definition, whole: list[Any], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentdeck.telemetry.observer.RETRY", (600.0, 600.0))
    observer = made(order, None)
    receiver.answers.append(400)
    observer.observe(EventBatch(RUN, 1, whole[:8]))
    observer.observe(EventBatch(RUN, 9, whole[8:10]))
    observer.observe(EventBatch(RUN, 11, whole[10:]))
    assert receiver.one("invoke_workflow order")
    with pytest.raises(
        ReceiverError, match=r"spans of 2 events of r1 were not sent to [^.]*\.0\.0\.1:\d+/v1/traces: "
    ):
        observer.close()


def test_a_slow_receiver_delays_no_step(deck: Deck, receiver: Receiver) -> None:
    """The receiver answers when the run has ended: its end does not wait for the first request."""
    ended = threading.Event()
    receiver.hold = ended.wait
    file = deck.write("quick.yaml", QUICK)
    process = subprocess.Popen(
        deck.command(("run", file.name, "-i", "word=a", "--json")),
        env={**deck.env, "NO_PROXY": "127.0.0.1", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=deck.folder,
    )  # fmt: skip
    deck.started.append(process)
    until(lambda: '"run_ended"' in deck.log())
    assert process.poll() is None
    ended.set()
    process.communicate(timeout=60)
    assert receiver.named("invoke_workflow quick")
