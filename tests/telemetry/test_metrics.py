"""`agentdeck metrics`: what Prometheus reads, and that it reads it."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentdeck.errors import Fault, UsageError
from agentdeck.operations.metrics import StoreMetrics
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.telemetry.prometheus import Histogram, Values, text
from agentdeck.telemetry.run_metrics import RunMetrics, Totals
from agentdeck.workflow.model import Definition
from tests.cli.conftest import SLOW, Deck
from tests.telemetry.exposition import read
from tests.telemetry.recording import RUN, T, append, hold, record, started, workflow
from tests.telemetry.test_export import EVENTS, ORDER
from tests.waiting import until


@pytest.fixture
def order(tmp_path: Path) -> Definition:
    return workflow(tmp_path, ORDER)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "deck.db"


@pytest.fixture
def reader(db: Path) -> Iterator[Reader]:
    with closing(Reader(db)) as made:
        yield made


def metrics(reader: Reader, run: str | None = RUN) -> dict[str, Any]:
    made = StoreMetrics(reader, run)
    made.refresh()
    return read(made.text())


def test_a_run_in_numbers(db: Path, order: Definition, reader: Reader) -> None:
    record(db, order, [started(order), *EVENTS])
    found = metrics(reader)
    attempts = found["agentdeck_attempt_duration_seconds_count"]
    assert attempts["order", "extract", "failed"] == attempts["order", "extract", "done"] == 1
    assert found["agentdeck_attempt_duration_seconds_sum"]["order", "extract", "done"] == 3.5
    assert found["agentdeck_attempt_duration_seconds_bucket"]["order", "extract", "done", "2.5"] == 0
    assert found["agentdeck_attempt_duration_seconds_bucket"]["order", "extract", "done", "5"] == 1
    waits = {labels[1:]: round(total, 6) for labels, total in found["agentdeck_wait_seconds_sum"].items()}
    assert waits == {
        ("extract", "pool"): 1.0, ("extract", "requests"): 1.5, ("extract", "backoff"): 1.0,
        ("stock", "needs"): 8.0, ("pay", "needs"): 8.0, ("confirm", "needs"): 11.000001,
        ("confirm", "pool"): 0.249999,
    }  # fmt: skip
    assert found["agentdeck_attempt_failures_total"] == {("order", "extract", "rate_limit"): 1}
    assert found["agentdeck_tokens_total"] == {
        ("order", "extract", "small", "input"): 120,
        ("order", "extract", "small", "output"): 30,
        ("order", "extract", "small", "cache_read"): 100,
    }
    assert found["agentdeck_cost_dollars_total"] == {("order", "extract", "small"): 0.25}
    assert found["agentdeck_input_bytes_sum"]["order", "extract"] == 80
    assert found["agentdeck_tasks_total"] == {("order", "done"): 1}
    assert found["agentdeck_run_state"] == {("order", RUN, "done"): 1}
    assert found["agentdeck_limit"]["order", RUN, "workers"] == 4


def test_a_run_under_way(db: Path, order: Definition, reader: Reader) -> None:
    waits = ev.StepWaited(T + 9, "1", "stock", "budget")
    record(db, order, [started(order), *EVENTS[:6]], state="interrupted")
    queued = {name: depth for (_, _, name), depth in metrics(reader)["agentdeck_queue_depth"].items()}
    assert queued == {"extract": 0, "stock": 1, "pay": 1, "confirm": 0}
    append(db, [waits, EVENTS[7]], 7)
    found = metrics(reader)
    assert found["agentdeck_queue_depth"]["order", RUN, "stock"] == 1  # it is held back by the budget
    assert found["agentdeck_queue_depth"]["order", RUN, "pay"] == 0
    assert found["agentdeck_steps_running"]["order", RUN, "pay"] == 1
    assert found["agentdeck_tasks_open"]["order", RUN] == 1
    assert found["agentdeck_limit_use"]["order", RUN, "workers"] == 1


def test_dead_letters_are_counted(db: Path, order: Definition, reader: Reader) -> None:
    fault = Fault("invalid", "no JSON")
    lost = [ev.AttemptFailed(T + 4, "1", "extract", 1, fault), ev.StepFailed(T + 4, "1", "extract", fault)]
    record(db, order, [started(order), *EVENTS[:2], *lost], state="interrupted")
    found = metrics(reader)
    assert found["agentdeck_dead_letters"] == {("order", RUN): 1}
    assert found["agentdeck_attempt_failures_total"] == {("order", "extract", "invalid"): 1}


def test_reading_in_parts_gives_the_same(db: Path, order: Definition, reader: Reader) -> None:
    whole = [started(order), *EVENTS]
    record(db, order, whole[:1], state="interrupted")
    made = StoreMetrics(reader, RUN)
    for n in range(2, len(whole) + 1):
        append(db, whole[n - 1 : n], n - 1)
        made.refresh()
    names = [name for name in read(made.text()) if name.startswith("agentdeck_")]
    once = metrics(reader)
    assert {name: read(made.text())[name] for name in names} == {name: once[name] for name in names}


def test_what_is_not_read_yet_is_said(db: Path, order: Definition, reader: Reader) -> None:
    record(db, order, [started(order), *EVENTS], state="interrupted")
    hold(db)
    made = StoreMetrics(reader)
    made.refresh(0)
    assert read(made.text())["agentdeck_lag_events"] == {("order", RUN): 15}
    made.refresh()
    assert read(made.text())["agentdeck_lag_events"] == {("order", RUN): 0}


def test_a_run_that_is_resumed_is_not_counted_twice(db: Path, order: Definition, reader: Reader) -> None:
    whole = [started(order), *EVENTS]
    record(db, order, whole[:8], state="interrupted")
    hold(db)
    made = StoreMetrics(reader)
    made.refresh()
    hold(db, held=False)
    made.refresh()
    assert read(made.text())["agentdeck_run_state"] == {}  # its gauges end with it
    assert read(made.text())["agentdeck_events_total"] == {("order",): 8}
    append(db, whole[8:], 8)
    hold(db)
    made.refresh()
    assert read(made.text())["agentdeck_events_total"] == {("order",): 15}
    assert read(made.text())["agentdeck_attempt_duration_seconds_count"]["order", "extract", "done"] == 1


def test_series_do_not_grow_with_the_tasks(tmp_path: Path) -> None:
    definition = workflow(tmp_path, "name: w\nagents: { a: { simulate: {} } }\n")
    totals = Totals()
    made = RunMetrics(RUN, definition, totals)
    made.apply(1, started(definition, None))
    sizes = []
    for n in range(300):
        task = str(n)
        for event in (
            ev.TaskOpened(T, task, {}),
            ev.StepStarted(T, task, "a", "a", 1, T),
            ev.StepSucceeded(T + 1, task, "a", 1),
            ev.TaskEnded(T + 1, task, "done"),
        ):
            made.apply(n + 2, event)
        sizes.append(text(totals.metrics()).count("\n"))
    assert len(set(sizes)) == 1
    assert not made.view.open


def test_names_with_any_characters_and_values_without_a_number() -> None:
    odd = Values("gauge", "agentdeck_odd", "What\nis \\ odd.", "agent")
    odd.set(float("nan"), 'say "hi"\\\n\ud800')
    odd.set(float("-inf"), "é ✓")
    odd.set(1e300, "")
    made = text([odd])
    assert "# HELP agentdeck_odd What\\nis \\\\ odd.\n" in made
    assert r'agentdeck_odd{agent="say \"hi\"\\\n\\ud800"} NaN' in made
    assert set(read(made)["agentdeck_odd"]) == {('say "hi"\\\n\\ud800',), ("é ✓",), ("",)}
    check(made)


def test_a_value_on_a_bound_belongs_below_it() -> None:
    histogram = Histogram("agentdeck_odd_seconds", "Odd.", (1, 2), "agent")
    for value in (0.5, 1.0, 1.5, 99.0):
        histogram.observe(value, "a")
    assert read(text([histogram]))["agentdeck_odd_seconds_bucket"] == {
        ("a", "1"): 2,
        ("a", "2"): 3,
        ("a", "+Inf"): 4,
    }


def check(made: str) -> None:
    """promtool accepts it, where it is installed."""
    program = shutil.which("promtool")
    if program is not None:
        done = subprocess.run(
            [program, "check", "metrics"], input=made, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_prometheus_accepts_them(db: Path, order: Definition, reader: Reader) -> None:
    record(db, order, [started(order), *EVENTS])
    made = StoreMetrics(reader, RUN)
    made.refresh()
    check(made.text())


def test_the_command_line(deck: Deck, order: Definition) -> None:
    empty = deck("metrics")
    assert (empty.returncode, "agentdeck_build_info" in empty.stdout) == (0, True)
    record(deck.db, order, [started(order), *EVENTS])
    assert read(deck("metrics", "last").stdout)["agentdeck_tasks_total"] == {("order", "done"): 1}
    assert read(deck("metrics").stdout)["agentdeck_tasks_total"] == {}  # no run executes
    unknown = deck("metrics", "nope")
    assert (unknown.returncode, "no run nope" in unknown.stderr) == (2, True)


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:", "127.0.0.1:99999", "1:2:x"])
def test_addresses_that_are_none(deck: Deck, address: str) -> None:
    done = deck("metrics", "--listen", address)
    assert (done.returncode, f"--listen {address}: this is not an address" in done.stderr) == (2, True)


def test_an_address_that_is_in_use(deck: Deck) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = deck("metrics", "--listen", taken.getsockname()[1])
    assert (done.returncode, "in use; choose another address" in done.stderr) == (2, True)


def test_runs_are_served_while_they_execute(deck: Deck) -> None:
    process = subprocess.Popen(
        deck.command(("metrics", "--listen", "0")),
        env=deck.env,
        cwd=deck.folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    deck.started.append(process)
    assert process.stderr is not None
    url = process.stderr.readline().split("metrics at ")[1].split(";")[0]
    deck.start("run", deck.write("slow.yaml", SLOW))

    def now() -> dict[str, Any]:
        return read(httpx.get(url, trust_env=False).text)

    until(lambda: 1 in now()["agentdeck_steps_running"].values())
    until(lambda: now()["agentdeck_tasks_total"] == {("slow", "done"): 1})
    assert set(now()["agentdeck_attempt_duration_seconds_count"]) == {
        ("slow", "one", "done"),
        ("slow", "two", "done"),
    }
    assert httpx.get(url.removesuffix("/metrics"), trust_env=False).status_code == 404


def test_an_unknown_run_is_refused(reader: Reader) -> None:
    with pytest.raises(UsageError, match="no run nope"):
        StoreMetrics(reader, "nope")
