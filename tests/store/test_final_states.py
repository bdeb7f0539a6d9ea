"""The state of each task of a run, from its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentdeck.errors import Fault, StoreError
from agentdeck.scheduler import events as ev
from agentdeck.store import final_states as module
from agentdeck.store.final_states import FinalState, final_states
from agentdeck.store.runs import create_run
from agentdeck.store.writer import Writer
from tests.store.samples import new_run


def record(path: Path, *events: ev.Event) -> None:
    writer = Writer(path)
    writer.call(lambda db: create_run(db, new_run("r"))).result(5)
    writer.append("r", 1, list(events))
    writer.close()


def test_each_task_has_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    path = tmp_path / "deck.db"
    again = ev.StepReopened(5.0, "3", "pay", inputs={"card": "new"})
    record(
        path,
        *(ev.TaskOpened(1.0, str(number), {"id": number}) for number in range(1, 6)),
        ev.TaskOpened(1.0, "2/pay", {"nested": True}),
        ev.TaskEnded(2.0, "10", "done"),  # of a task that was never opened in this log
        ev.TaskEnded(2.0, "2", "failed", fault=Fault("Refused", "no money")),
        ev.TaskEnded(3.0, "1", "done", {"paid": 7}),
        ev.TaskEnded(4.0, "3", "failed", fault=Fault("Refused", "no money")),
        again,
        again._replace(step="ship", inputs=None),
        ev.TaskEnded(6.0, "3", "done", "shipped"),
        ev.TaskEnded(6.0, "4", "failed", fault=Fault("Refused", "no money")),
        again._replace(task="4"),
    )
    states = final_states(path, "r")
    assert [next(states) for _ in range(5)] == [
        FinalState("1", "done", {"id": 1}, {"paid": 7}, None),
        FinalState("2", "failed", {"id": 2}, None, "no money"),
        FinalState("3", "done", {"id": 3, "card": "new"}, "shipped", None),
        FinalState("4", "open", {"id": 4, "card": "new"}, None, None),
        FinalState("5", "open", {"id": 5}, None, None),
    ]
    with pytest.raises(StoreError, match="the log of r has no beginning of task 10"):
        next(states)


def test_a_run_without_events_has_no_states(tmp_path: Path) -> None:
    record(tmp_path / "deck.db")
    assert list(final_states(tmp_path / "deck.db", "r")) == []
