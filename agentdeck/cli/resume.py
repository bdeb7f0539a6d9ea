"""`resume`: a run that nobody runs any more goes on here; a paused one goes on where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentdeck.cli.options import db_option, json_option

if TYPE_CHECKING:
    from agentdeck.core.view import View
    from agentdeck.store.reader import Reader, RunRow
    from agentdeck.workflow.model import Data, Definition


@click.command()
@click.argument("run", metavar="RUN")
@db_option
@click.option("--yes", is_flag=True, help="Approve whatever asks a person.")
@json_option("Print one JSON object at the end: the summary.")
def resume(run: str, db: str | None, yes: bool, as_json: bool) -> int:
    """Go on with a run whose process died or drained: nothing recorded is run again.

    A run that is alive and paused is told to go on, and this returns at once.
    """
    from agentdeck.cli.options import store

    with store(db) as reader:
        row = reader.run(run)
        if row.state in ("running", "paused"):
            from agentdeck.cli.ask import ask

            if row.state == "paused":
                return ask(db, row.run, "resume", {})
            from agentdeck.errors import UsageError

            raise UsageError(
                f"{row.run} is running, in process {row.pid} on {row.host}; agentdeck watch {row.run}"
            )
        definition, view = _so_far(reader, row)
    return _go_on(row, definition, view, db, yes, as_json)


def _so_far(reader: Reader, row: RunRow) -> tuple[Definition, View]:
    from agentdeck.core.view import View
    from agentdeck.engine.resume import definition_of

    definition = definition_of(reader, row)
    view = View(definition)
    for seq, event in reader.events(row.run):
        view.apply(seq, event)
    return definition, view


def _go_on(row: RunRow, definition: Definition, view: View, db: str | None, yes: bool, as_json: bool) -> int:
    from agentdeck.cli.conduct import Lines, conclude, conduct
    from agentdeck.cli.narrate import narrator
    from agentdeck.cli.settings import database
    from agentdeck.cli.tasks import forget
    from agentdeck.engine.resume import Resume
    from agentdeck.engine.resume import resume as start

    tasks = _tasks(definition, view)
    wanted = Resume(row.run, database(db), _functions(row, definition), tasks, yes)
    where = f" --db {db}" if db else ""
    outcome = conduct(
        lambda watch: start(wanted, watch),
        narrator(definition, _total(row, view, tasks), again=view),
        lambda _: f"agentdeck resume {row.run}{where}",
        Lines(None),
    )
    if outcome.state != "drained":
        forget(row.source.get("tasks"), database(db))
    return conclude(outcome, definition, as_json)


def _functions(row: RunRow, was: Definition) -> dict[str, Callable[..., Any]]:
    """A workflow written in Python is loaded again: the store does not hold functions."""
    from agentdeck.cli.errors import say
    from agentdeck.cli.options import functions_of
    from agentdeck.cli.overrides import override
    from agentdeck.errors import UsageError

    file = str(row.source.get("file") or "")
    if not file.endswith(".py"):
        return {}
    if not Path(file).exists():
        raise UsageError(f"{row.run} needs the functions of {file}, which is not there any more")
    definition, functions = functions_of(file, Path(file).parent)
    if row.workflow != definition.name:
        raise UsageError(f"{file} holds the workflow {definition.name} now; {row.run} is a run of {row.workflow}")
    missing = [
        name for name, agent in was.agents.items() if agent.does.verb == "python" and name not in functions
    ]
    if missing:
        raise UsageError(f"{file} has no agent {', '.join(missing)} any more, which {row.run} needs")
    if override(definition, row.source.get("set") or ()).identity != row.identity:
        say(f"{file} has changed since {row.run} began: its functions are as they are now, the graph as it was")
    return functions


def _tasks(definition: Definition, view: View) -> Callable[[RunRow], Iterable[Mapping[str, Data]] | None]:
    def reopen(row: RunRow) -> Iterable[Mapping[str, Data]] | None:
        from agentdeck.cli.tasks import TaskFile

        name = row.source.get("tasks")
        if not name:
            return None
        if view.tasks.total is not None:
            return []  # all of them are open or over already
        return TaskFile(str(name), definition, view.inputs, skip_bad=bool(row.source.get("skip_bad")))

    return reopen


def _total(row: RunRow, view: View, tasks: Callable[[RunRow], Iterable[Mapping[str, Data]] | None]) -> int | None:
    """How many tasks there are in all. The file is read once for that, so a line that went bad is told now."""
    from agentdeck.cli.tasks import TaskFile

    if view.tasks.total is not None:
        return view.tasks.total
    source = tasks(row)
    return source.count() if isinstance(source, TaskFile) else 1
