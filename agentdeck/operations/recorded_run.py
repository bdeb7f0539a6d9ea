"""Runs as the store has them: the reader, a run with its workflow and view, the view of one task, and the files
of the workflow, also in another folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentdeck.errors import StoreError, UsageError
from agentdeck.operations.settings import database
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import ENDED
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.workflow.wording import did_you_mean

if TYPE_CHECKING:
    from agentdeck.views.run_view import RunView
    from agentdeck.workflow.model import Data, Definition

LIVE = ("running", "paused")
#: The states of a run, as lists of runs show them.
STATES = (*LIVE, "interrupted", "done", "failed", "cancelled")


@contextmanager
def open_store(db: str | None) -> Iterator[Reader]:
    """A reader of the store that `--db` or the settings name. Raises StoreError."""
    path = database(db)
    try:
        reader = Reader(path)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; choose another file with --db or AGENTDECK_DB") from None
    with closing(reader):
        yield reader


def view_of(reader: Reader, row: RunRow) -> tuple[Definition, RunView]:
    """The workflow of a run as it was when the run began, and the view of all events so far."""
    from agentdeck.store.view_snapshots import folded_view
    from agentdeck.workflow.model import restored

    definition = restored(reader.definition(row.identity))
    return definition, folded_view(reader, row.run, definition)


def load_run(reader: Reader, run: str) -> tuple[RunRow, Definition, RunView]:
    """The row, workflow and view of a run. The row of a live run has the state of its log, which is written
    first."""
    row = reader.run(run)
    definition, view = view_of(reader, row)
    if row.state in LIVE and view.state in LIVE:
        row = replace(row, state=view.state)
    return row, definition, view


def step_task(view: RunView, step: str) -> str:
    """The task whose step to explain when the operator names none: the oldest open task in which the step has
    not ended, else a task in which it failed, else the task that ended last."""

    def open_in(task: str) -> bool:
        found = view.open[task].steps.get(step)
        return not view.open[task].graph.prefix and (found is None or found.state not in ENDED)

    first = next((task for task in view.open if open_in(task)), None)
    if first is not None:
        return first
    for name, task in view.failed.items():
        if not task.graph.prefix and (at := task.steps.get(step)) is not None and at.state == "failed":
            return name
    return view.recent[-1].task if view.recent else next(iter(view.open), "1")


def task_view(reader: Reader, row: RunRow, definition: Definition, task: str) -> RunView:
    """A view of one ended task, from its own events; the task stays in `open`, with its final state. A run view
    drops ended tasks. Raises UsageError if the run has no such task."""
    from agentdeck.views.run_view import RunView

    view, state = RunView(definition), ""
    for seq, event in reader.events_with(row.run, task):
        if isinstance(event, ev.TaskEnded) and event.task == task:
            state = event.state  # applying the event would remove the task from the view
        else:
            view.apply(seq, event)
    if not state:
        raise UsageError(f"{row.run} has no task {task}; see `agentdeck events {row.run}`")
    view.open[task].state = state
    return view


def marks(row: RunRow) -> str:
    """Text after the workflow's name in a list: whether the run is simulated, and its tags."""
    return (" · simulated" if row.simulated else "") + "".join(f" #{tag}" for tag in row.tags)


def relocated(reader: Reader, run: str, folder: Path | None, author: ev.Author) -> RunRow:
    """The row of a run. Where a folder is given, the workflow of the run, which no process holds, has been moved
    there: the row names it now, and the log records that. Raises UsageError."""
    row = reader.run(run)
    if folder is None:
        return row
    if row.state in LIVE:
        raise UsageError(
            f"{row.run} is {row.state} in process {row.pid} on {row.host}; its folder cannot be changed "
            "while it executes"
        )
    new = folder.expanduser().resolve()
    if not new.is_dir():
        raise UsageError(f"--folder {folder}: there is no such folder")
    old = Path(str(row.source.get("folder") or "."))
    source = {**row.source, "folder": str(new)}
    if row.source.get("file"):
        file = _moved(Path(str(row.source["file"])), old, new)
        if not file.is_file():
            raise UsageError(f"--folder {folder}: it does not contain {file.name}, the workflow of {row.run}")
        source["file"] = str(file)
    tasks = row.source.get("tasks")
    if isinstance(tasks, str) and (moved := _moved(Path(tasks), old, new)).is_file():
        source["tasks"] = str(moved)
    if source != row.source:
        text = f"the workflow was moved from {old} to {new}"
        _record_source(reader, row.run, source, text + (f", by {author.text}" if author.text else ""))
    return reader.run(row.run)


def _moved(path: Path, old: Path, new: Path) -> Path:
    """The path in the new folder of a file from the old folder; other paths are unchanged."""
    return new / path.relative_to(old) if path.is_relative_to(old) else path


def _record_source(reader: Reader, run: str, source: dict[str, Data], text: str) -> None:
    from agentdeck.store.runs import set_source
    from agentdeck.store.writer import Writer

    noted = ev.Noted(time.time(), text)
    with closing(Writer(reader.path)) as writer:
        changes = [lambda connection: set_source(connection, run, source)]
        writer.append(run, reader.last_seq(run) + 1, [noted], changes)
        writer.flush()


def load_functions(file: Path) -> tuple[Definition, dict[str, Callable[..., Any]]]:
    """The definition in a Python workflow file as it is now, and its agents' functions."""
    from agentdeck.workflow.loader import load

    loaded = load(file)
    return loaded.definition, dict(loaded.functions)


def expected_tasks(row: RunRow, view: RunView) -> int | None:
    """How many tasks the run will have; None while a pipe may still deliver tasks."""
    return view.tasks.total if view.tasks.total is not None else launched_tasks(row)


def launched_tasks(row: RunRow) -> int | None:
    """How many tasks the run was launched with; None where a pipe delivered them."""
    total = row.source.get("total")
    return int(total) if total is not None else None if row.source.get("tasks") else 1


def known_agent(definition: Definition, agent: str) -> None:
    """Raises UsageError, with the nearest name, if the workflow has no such agent."""
    if agent not in definition.agents:
        known = did_you_mean(agent, definition.agents, f"there are {', '.join(definition.agents)}")
        raise UsageError(f"{definition.name} has no agent {agent}; {known}")
