"""Runs as the store has them: the reader, a run with its workflow and view, and the workflow's files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentdeck.errors import StoreError, UsageError
from agentdeck.operations.settings import database

if TYPE_CHECKING:
    from agentdeck.scheduler.events import Author
    from agentdeck.store.reader import Reader
    from agentdeck.store.run_list import RunRow
    from agentdeck.views.run_view import RunView
    from agentdeck.workflow.model import Definition

LIVE = ("running", "paused")


@contextmanager
def open_store(db: str | None) -> Iterator[Reader]:
    """A reader of the store that `--db` or the settings name. Raises StoreError."""
    from agentdeck.store.reader import Reader

    path = database(db)
    try:
        reader = Reader(path)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; choose another file with --db or AGENTDECK_DB") from None
    try:
        yield reader
    finally:
        reader.close()


def view_of(reader: Reader, row: RunRow) -> tuple[Definition, RunView]:
    """The workflow of a run as it was when the run began, and the view of all events so far."""
    from agentdeck.views.run_view import RunView
    from agentdeck.workflow.model import restored

    definition = restored(reader.definition(row.identity))
    view = RunView(definition)
    for seq, event in reader.events(row.run):
        view.apply(seq, event)
    return definition, view


def load_run(reader: Reader, run: str) -> tuple[RunRow, Definition, RunView]:
    """The row, workflow and view of a run. The row of a live run has the state of its log, which is written
    first."""
    row = reader.run(run)
    definition, view = view_of(reader, row)
    if row.state in LIVE and view.state in LIVE:
        row = replace(row, state=view.state)
    return row, definition, view


def relocated(reader: Reader, run: str, folder: Path | None, author: Author) -> RunRow:
    """The row of a run, after its workflow's folder was set to `folder`, if one is given. Raises UsageError."""
    row = reader.run(run)
    if folder is not None:
        from agentdeck.operations.relocation import relocate

        relocate(reader.path, row, folder, author.text)
        row = reader.run(row.run)
    return row


def load_functions(file: Path) -> tuple[Definition, dict[str, Callable[..., Any]]]:
    """The definition in a Python workflow file as it is now, and its agents' functions."""
    from agentdeck.workflow.loader import load

    loaded = load(file)
    return loaded.definition, dict(loaded.functions)


def expected_tasks(row: RunRow, view: RunView) -> int | None:
    """How many tasks the run will have; None while a pipe may still deliver tasks."""
    if view.tasks.total is not None:
        return view.tasks.total
    total = row.source.get("total")
    return int(total) if total is not None else None if row.source.get("tasks") else 1


def known_agent(definition: Definition, agent: str) -> None:
    """Raises UsageError, with the nearest name, if the workflow has no such agent."""
    if agent not in definition.agents:
        import difflib

        near = difflib.get_close_matches(agent, definition.agents, n=1)
        known = f"did you mean {near[0]}?" if near else f"there are {', '.join(definition.agents)}"
        raise UsageError(f"{definition.name} has no agent {agent}; {known}")
