"""What several verbs share: options, and the store they look into."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agentdeck.cli import complete
from agentdeck.cli.db_hint import remember

if TYPE_CHECKING:
    from agentdeck.store.reader import Reader
    from agentdeck.store.run_list import RunRow
    from agentdeck.views.run_view import RunView
    from agentdeck.workflow.model import Definition

F = TypeVar("F", bound=Callable[..., Any])


def db_option(function: F) -> F:
    """`--db FILE`."""
    about = "The store; else AGENTDECK_DB, the project's or the user's file, or the default place."
    option = click.option("--db", metavar="FILE", type=click.Path(), callback=remember, help=about)
    return option(function)


def run_argument(function: F) -> F:
    """`RUN`: an id, the beginning of one, or `last`."""
    return click.argument("run", metavar="RUN", shell_complete=complete.runs)(function)


def json_option(about: str) -> Callable[[F], F]:
    return click.option("--json", "as_json", is_flag=True, help=about)


def by_option(function: F) -> F:
    """`--by NAME`."""
    about = "Who decides this, where several people share the account; recorded beside it."
    return click.option("--by", metavar="NAME", help=about)(function)


def out_option(function: F) -> F:
    """`--out FILE`."""
    about = "Write a JSON line per task, in its final state."
    return click.option("--out", metavar="FILE", type=click.Path(), help=about)(function)


def folder_option(function: F) -> F:
    """`--folder DIR`."""
    about = "Where the workflow is now, if its folder has moved since; recorded with the run."
    return click.option("--folder", metavar="DIR", type=click.Path(path_type=Path), help=about)(function)


def moved(reader: Reader, run: str, folder: Path | None, by: str | None = None) -> RunRow:
    """The run, after its folder was changed where `--folder` was given. `by` is the name of `--by`."""
    row = reader.run(run)
    if folder is not None:
        from agentdeck.engine.moved_workflow import move
        from agentdeck.operations.author import author

        move(reader.path, row, folder, author(by or "").text)
        row = reader.run(row.run)
    return row


def wait_option(function: F) -> F:
    """`--wait`: stay where nothing can go on. In a terminal that is so without it."""
    about = "Wait for an operator where nothing can go on; without a terminal the run stops then, resumable."
    return click.option("--wait", is_flag=True, help=about)(function)


def attended() -> bool:
    """Whether an operator can see this process: any of its standard streams is a terminal."""
    return any(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


@contextmanager
def store(db: str | None) -> Iterator[Reader]:
    """A reader of the store, closed at the end. Raises StoreError."""
    from agentdeck.errors import StoreError
    from agentdeck.operations.settings import database
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


def functions_of(file: str, folder: Path) -> tuple[Definition, dict[str, Callable[..., Any]]]:
    """The definition in a workflow file as it is now, and the functions that a Python file gives as objects."""
    from agentdeck.workflow.loader import load

    loaded = load(folder / file)
    return loaded.definition, dict(loaded.functions)


def folded(reader: Reader, run: str) -> tuple[RunRow, Definition, RunView]:
    """A run, the workflow as it was, and what its log says so far; the row of a run that goes on, too, is as the
    log has it, which is written first."""
    from dataclasses import replace

    from agentdeck.views.run_view import RunView
    from agentdeck.workflow.model import restored

    row = reader.run(run)
    definition = restored(reader.definition(row.identity))
    view = RunView(definition)
    for seq, event in reader.events(row.run):
        view.apply(seq, event)
    living = ("running", "paused")
    if row.state in living and view.state in living:
        row = replace(row, state=view.state)
    return row, definition, view
