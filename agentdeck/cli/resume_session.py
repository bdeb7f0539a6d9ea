"""Taking up a run in this process, whoever began it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentdeck.engine.launch import Outcome
    from agentdeck.engine.reopened_steps import ReopenRequest
    from agentdeck.operations.out_file import OutFile
    from agentdeck.store.reader import Reader
    from agentdeck.store.run_list import RunRow
    from agentdeck.store.tasks import Recorded
    from agentdeck.views.run_view import RunView
    from agentdeck.workflow.model import Data, Definition


def so_far(reader: Reader, row: RunRow) -> tuple[Definition, RunView]:
    from agentdeck.engine.resume import definition_of
    from agentdeck.views.run_view import RunView

    definition = definition_of(reader, row)
    view = RunView(definition)
    for seq, event in reader.events(row.run):
        view.apply(seq, event)
    return definition, view


@dataclass(frozen=True, slots=True)
class Execution:
    """The options of verbs that go on with a run in this process. Without `wait`, and without a terminal, a run
    stops where nothing can go on until an operator acts."""

    db: str | None
    yes: bool = False
    wait: bool = False
    as_json: bool = False
    by: str = ""
    out: str | None = None


def not_here(row: RunRow, how: Execution) -> None:
    """Another process holds the run, and this one only asks it. Raises UsageError for what it cannot do then."""
    from agentdeck.errors import UsageError

    if how.out is not None:
        raise UsageError(
            f"{row.run} is {row.state} in process {row.pid} on {row.host}, and only the process that executes a"
            f" run writes --out; once it has ended: agentdeck results {row.run} --out {how.out}"
        )


def take_up(
    row: RunRow, how: Execution, again: ReopenRequest | None = None, accept: bool = False
) -> tuple[Outcome, Definition, OutFile]:
    """Go on with a run in this process until it is over; with steps that go `again`."""
    from agentdeck.cli.error_output import say
    from agentdeck.cli.options import attended, store
    from agentdeck.cli.process_exit import own_stdout
    from agentdeck.cli.progress import narrator
    from agentdeck.cli.run_session import conduct
    from agentdeck.engine.resume import Resume, resume
    from agentdeck.operations.author import author
    from agentdeck.operations.out_file import OutFile
    from agentdeck.operations.settings import database
    from agentdeck.operations.task_files import remove_stdin_copy
    from agentdeck.store.tasks import recorded

    own_stdout()
    db = how.db
    with store(db) as reader:
        definition, view = so_far(reader, row)
        kept = recorded(reader, row.run)
    _announce(row, view, kept, again)
    tasks = _tasks(definition, view)
    functions = _functions(row, definition)
    wait = how.wait or attended()
    wanted = Resume(row.run, database(db), functions, tasks, how.yes, author(how.by), wait, accept)
    out = OutFile(how.out, database(db), say)
    out.continue_run(row.run, again.roots if again is not None else ())
    outcome = conduct(
        lambda watch: resume(wanted, watch, again),
        narrator(definition, _total(row, view, tasks, kept), again=view),
        lambda _: f"agentdeck resume {row.run}",
        out,
    )
    if outcome.state != "drained":
        remove_stdin_copy(row.source.get("tasks"), database(db))
    return outcome, definition, out


def _announce(row: RunRow, view: RunView, kept: Recorded | None, again: ReopenRequest | None) -> None:
    """Say where the rest of the tasks comes from, if that is not the list that was launched, and what has
    changed."""
    from agentdeck.cli.error_output import say
    from agentdeck.engine.source_hashes import changed_files

    if again is not None and (changes := changed_files(row)):
        say(f"{'; '.join(changes.values())} since {row.run} was launched: it goes on with what is there now")
    if view.tasks.total is not None or not row.source.get("tasks"):
        return
    if kept is None:
        file = row.source["tasks"]
        say(f"{row.run} was launched by version 0.1, which did not record its tasks: {file} is read again")
    elif not kept.complete:
        say(f"stdin was still open when {row.run} was interrupted: it has the {kept.tasks:,} tasks that had come")


def _functions(row: RunRow, was: Definition) -> dict[str, Callable[..., Any]]:
    """A workflow written in Python is loaded again: the store does not hold functions."""
    from agentdeck.cli.options import functions_of
    from agentdeck.errors import UsageError

    file = str(row.source.get("file") or "")
    if not file.endswith(".py"):
        return {}
    if not Path(file).exists():
        raise UsageError(
            f"{row.run} needs the functions of {file}, which is not there any more; if its folder has moved:"
            f" agentdeck resume {row.run} --folder DIR"
        )
    definition, functions = functions_of(file, Path(file).parent)
    if row.workflow != definition.name:
        raise UsageError(f"{file} holds the workflow {definition.name} now; {row.run} is a run of {row.workflow}")
    missing = [
        name for name, agent in was.agents.items() if agent.does.verb == "python" and name not in functions
    ]
    if missing:
        raise UsageError(f"{file} has no agent {', '.join(missing)} any more, which {row.run} needs")
    return functions


def carried_over(row: RunRow, how: Execution, accept: bool) -> RunRow:
    """The run to go on with: this one, or, where its Python file has changed and that is accepted, a new one that
    shares every result that still fits. Raises UsageError, with what changed, where it is not accepted."""
    from agentdeck.cli.error_output import say
    from agentdeck.cli.options import functions_of, store
    from agentdeck.engine.fork import Fork, differences, fork, supersede
    from agentdeck.engine.resume import definition_of
    from agentdeck.errors import UsageError
    from agentdeck.operations.author import author
    from agentdeck.operations.overrides import override
    from agentdeck.operations.settings import database

    file = str(row.source.get("file") or "")
    if not file.endswith(".py") or not Path(file).exists():
        return row
    new = override(functions_of(file, Path(file).parent)[0], row.source.get("set") or ())
    if new.identity == row.identity or new.name != row.workflow:
        return row
    with store(how.db) as reader:
        told = "; ".join(differences(definition_of(reader, row), new))
    if not accept:
        raise UsageError(
            f"{file} has changed since {row.run} began: {told}. Put it back as it was, or go on with it as it is "
            f"now where results still fit: agentdeck resume {row.run} --accept-changes"
        )
    who = author(how.by)
    made = fork(database(how.db), Fork(row.run, definition=new, author=who))
    supersede(database(how.db), row, made.run, who.text)
    say(f"{told}: {row.run} goes on as {made.run}, with {made.shared:,} of its results")
    with store(how.db) as reader:
        return reader.run(made.run)


def _tasks(definition: Definition, view: RunView) -> Callable[[RunRow], Iterable[Mapping[str, Data]] | None]:
    def reopen(row: RunRow) -> Iterable[Mapping[str, Data]] | None:
        from agentdeck.cli.error_output import say_with_details
        from agentdeck.operations.task_files import TaskFile

        name = row.source.get("tasks")
        if not name:
            return None
        if view.tasks.total is not None:
            return []  # all of them are open or over already
        skip = bool(row.source.get("skip_bad"))  # of version 0.1
        return TaskFile(str(name), definition, view.inputs, skip_bad=skip, report=say_with_details)

    return reopen


def expected(row: RunRow, view: RunView) -> int | None:
    """How many tasks the run will have; None where that is not known, as they come through a pipe."""
    if view.tasks.total is not None:
        return view.tasks.total
    total = row.source.get("total")
    return int(total) if total is not None else None if row.source.get("tasks") else 1


def _total(
    row: RunRow,
    view: RunView,
    tasks: Callable[[RunRow], Iterable[Mapping[str, Data]] | None],
    kept: Recorded | None,
) -> int | None:
    """How many tasks there are in all. A file of a run of version 0.1 is read once for that, so a line that went
    bad is told now."""
    from agentdeck.operations.task_files import TaskFile

    if view.tasks.total is not None or kept is not None:
        return view.tasks.total if kept is None else kept.tasks
    source = tasks(row)
    return source.count() if isinstance(source, TaskFile) else 1
