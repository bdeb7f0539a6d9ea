"""Where attempts ran: recorded with the name of a worker, shown on the pages of the run and of the step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentdeck import Workflow
from agentdeck.agents.verb import LONGEST_WORKER, AttemptContext
from agentdeck.cli import show
from agentdeck.console.step_detail import items_of
from agentdeck.documents.document import plain
from agentdeck.engine import launch
from agentdeck.insight.step import recorded_story
from agentdeck.insight.summary import summary
from agentdeck.operations.step_page import page, step_document
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from tests.places.far import FarPlace, far_installed

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with far_installed(tmp_path, monkeypatch):
        yield tmp_path


async def run(folder: Path, **keys: object) -> launch.Outcome:
    made = Workflow("placed", inputs={"n": {"type": "integer", "default": 0}})
    made.add("it", python="tests.places.far:nap", place="big", **{"retry": 1, **keys})
    return await launch.run(launch.Launch(made.definition, folder, db=folder / "runs.db"))


async def test_the_worker_of_each_attempt_is_recorded_and_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FarPlace, "loses", staticmethod(lambda work: work.attempt == 1))
    outcome = await run(folder)
    assert outcome.state == "done"
    document = summary(outcome.view)
    counts = plain(document)["place_workers"]
    none = {"running": 0, "done": 0, "failed": 0, "lost": 0, "cancelled": 0}
    assert counts == {"far-2": {**none, "lost": 1}, "far-1": {**none, "done": 1}}
    with closing(Reader(folder / "runs.db")) as reader:
        placed = [e for _, e in reader.events(outcome.run) if isinstance(e, ev.AttemptPlaced)]
        assert [(e.step, e.attempt, e.worker) for e in placed] == [("it", 1, "far-2"), ("it", 2, "far-1")]
        row = reader.run(outcome.run)
        story = recorded_story(reader, outcome.run, "1", "it")
    assert [one["worker"] for one in plain(step_document(story))["attempts"]] == ["far-2", "far-1"]
    text = "\n".join(page(story))
    assert "#1 lost" in text
    assert "on far-2" in text
    assert "it (python at big)" in text.splitlines()[0]
    shown = items_of(story)
    assert "python at big" in shown[0].text
    assert ["on far-2" in shown[at].text for at in range(len(shown)) if shown[at].text.startswith("#")] == [
        True,
        False,
    ]
    lines = show.page(row, outcome.view, document, ())
    assert [line.split() for line in lines if line.startswith("far-")] == [
        ["far-2", "0", "0", "0", "1", "0"],
        ["far-1", "0", "1", "0", "0", "0"],
    ]


async def test_a_step_that_is_lost_too_often_names_its_worker(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FarPlace, "loses", staticmethod(lambda work: True))
    outcome = await run(folder)
    assert outcome.state == "failed"
    fault = outcome.view.failed["1"].steps["it"].fault
    assert fault is not None
    assert fault.kind == "place"
    assert fault.message == "the worker far-1 is gone; this is the 4th attempt that was lost"


async def test_the_name_of_a_worker_is_one_short_line() -> None:
    recorded: list[str] = []
    made = Workflow("made")
    made.add("a", simulate="1s")
    work = AttemptContext(
        "r", "1", "a", 1, made.definition.agents["a"], {}, {}, print, print,
        record=lambda kind, worker: recorded.append(worker),
    )  # fmt: skip
    work.placed("a\nname " + "x" * 200)
    assert recorded == [("a name " + "x" * 200)[:LONGEST_WORKER]]
