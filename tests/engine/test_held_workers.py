"""A thread that goes on after the cancellation of its attempt holds a worker until it ends."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import anyio
import pytest

from agentdeck import Workflow
from agentdeck.agents.python_runner import ThreadCall
from agentdeck.engine.launch import Launch, Watch, run
from agentdeck.engine.log_lines import LogLine
from agentdeck.insight.limits import limits
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Data

pytestmark = pytest.mark.anyio

HANGS = """
import time
from pathlib import Path

def work(n, folder):
    if n == 0:
        while not Path(folder, "end").exists():
            time.sleep(0.005)
    time.sleep(0.15)
    if n == 9:
        Path(folder, "end").touch()
"""


async def test_a_thread_that_ignores_its_timeout_holds_a_worker(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    made = Workflow("hangs", inputs={"n": "integer", "folder": "string"})
    made.add("work", python="hangs:work", timeout="1s", retry=1)  # the other nine take longer than that
    tasks: list[dict[str, Data]] = [{"n": n, "folder": str(tmp_path)} for n in range(10)]
    lines: list[LogLine] = []
    with anyio.fail_after(60):
        launch = Launch(made.definition, tmp_path, {}, tasks, 2, db=tmp_path / "a.db")
        outcome = await run(launch, Watch(line=lines.append))
    assert outcome.view.steps()["done"] == 9
    assert [line.text.partition(":")[0] for line in lines] == ["abandoned, still running"]
    with closing(Reader(tmp_path / "a.db")) as reader:
        events = list(reader.events(outcome.run))
    view, held, running = RunView(made.definition), False, 0
    for seq, event in events:
        view.apply(seq, event)
        running += isinstance(event, ev.StepStarted)
        running -= isinstance(event, ev.StepSucceeded | ev.AttemptFailed)
        if isinstance(event, ev.WorkerHeld | ev.WorkerFreed):
            held = isinstance(event, ev.WorkerHeld)
            assert list(view.held_workers.values()) == ["work"] * held
            workers = next(one for one in limits(view, event.at) if one.name == "workers")
            assert workers.use == running + held
        elif isinstance(event, ev.StepStarted):
            assert running + held <= 2
    assert [event for _, event in events if isinstance(event, ev.WorkerHeld)]


async def test_threads_that_never_end_leave_a_worker_to_the_run(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    made = Workflow("hangs", inputs={"n": "integer", "folder": "string"})
    made.add("work", python="hangs:work", timeout="500ms", retry=1)
    tasks: list[dict[str, Data]] = [{"n": n, "folder": str(tmp_path)} for n in (0, 0, 0, 9)]
    with anyio.fail_after(60):
        outcome = await run(Launch(made.definition, tmp_path, {}, tasks, 2))
    assert outcome.view.steps()["done"] >= 1


def test_a_call_that_is_cancelled_before_it_began_does_not_begin() -> None:
    said = list[str]()
    call = ThreadCall(lambda: said.append("began"))
    assert not call.leave(lambda: said.append("ended"))
    call.run()
    assert said == []


def test_a_call_that_is_cancelled_reports_its_end_once() -> None:
    said = list[str]()
    call = ThreadCall(lambda: said.append(f"running: {call.leave(lambda: said.append('ended'))}"))
    call.run()
    assert said == ["running: True", "ended"]
