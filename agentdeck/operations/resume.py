"""Resuming a run in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentdeck.agents.python import Python
from agentdeck.engine.launch import Outcome, Watch
from agentdeck.engine.reopened_steps import ReopenRequest
from agentdeck.engine.resume import Resume, definition_of, resume
from agentdeck.engine.source_hashes import changed_files
from agentdeck.errors import UsageError
from agentdeck.operations.fork import Fork, differences, fork, supersede
from agentdeck.operations.overrides import override
from agentdeck.operations.recorded_run import load_functions, view_of
from agentdeck.operations.task_files import Report, TaskFile
from agentdeck.scheduler.events import Author
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.store.tasks import Recorded, recorded
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Data, Definition


@dataclass(frozen=True, slots=True)
class PreparedResume:
    """A run that `execute` resumes. `view` has its events so far; `total` is its number of tasks, None if
    unknown; `notices` tell the operator what differs from the launch."""

    definition: Definition
    view: RunView
    total: int | None
    notices: tuple[str, ...]
    request: Resume
    reopened: ReopenRequest | None

    async def execute(self, watch: Watch) -> Outcome:
        """Run until the end. Raises UsageError if another process holds the run."""
        return await resume(self.request, watch, self.reopened)


def prepare_resume(
    db: Path,
    row: RunRow,
    author: Author,
    report: Report,
    *,
    yes: bool = False,
    wait: bool = True,
    accept_changes: bool = False,
    reopened: ReopenRequest | None = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
) -> PreparedResume:
    """Load what the resume of a run needs; with `reopened`, steps that ended run again. `functions` are those of
    a workflow that the program holds; without them, they are loaded from its file. Raises UsageError, for example
    if that file is missing."""
    with closing(Reader(db)) as reader:
        definition, view = view_of(reader, row)
        known = recorded(reader, row.run)
    tasks = _file_of_version_0_1(definition, view, report)
    known_functions = functions if functions is not None else _functions(row, definition)
    request = Resume(row.run, db, known_functions, tasks, yes, author, wait, accept_changes)
    if known is not None:
        total: int | None = known.tasks
    elif view.tasks.total is not None:
        total = view.tasks.total
    else:
        source = tasks(row)  # read once to count: a line that has become invalid is reported now
        total = source.count() if isinstance(source, TaskFile) else 1
    return PreparedResume(definition, view, total, tuple(_notices(row, view, known, reopened)), request, reopened)


def _notices(row: RunRow, view: RunView, known: Recorded | None, reopened: ReopenRequest | None) -> Iterable[str]:
    if reopened is not None and (changes := changed_files(row)):
        yield f"{'; '.join(changes.values())} since {row.run} was launched; it continues with the current files"
    if view.tasks.total is not None or not row.source.get("tasks"):
        return
    if known is None:
        file = row.source["tasks"]
        yield f"{row.run} was launched by version 0.1, which did not record its tasks: {file} is read again"
    elif not known.complete:
        had = f"it continues with the {known.tasks:,} tasks read until then"
        yield f"stdin was still open when {row.run} was interrupted: {had}"


def _functions(row: RunRow, recorded_definition: Definition) -> dict[str, Callable[..., Any]]:
    """The functions of a workflow written in Python, loaded again: the store does not hold functions."""
    file = str(row.source.get("file") or "")
    if not file.endswith(".py"):
        return {}
    if not Path(file).exists():
        raise UsageError(
            f"{row.run} needs the functions of {file}, which no longer exists; if its folder was moved:"
            f" agentdeck resume {row.run} --folder DIR"
        )
    definition, functions = load_functions(Path(file))
    if row.workflow != definition.name:
        raise UsageError(
            f"{file} now contains the workflow {definition.name}, but {row.run} is a run of {row.workflow}"
        )
    missing = [
        name
        for name, agent in recorded_definition.agents.items()
        if isinstance(agent.does, Python) and name not in functions
    ]
    if missing:
        raise UsageError(f"{file} has no agent {', '.join(missing)} any more, and {row.run} needs it")
    return functions


def _file_of_version_0_1(
    definition: Definition, view: RunView, report: Report
) -> Callable[[RunRow], Iterable[Mapping[str, Data]] | None]:
    """A function that opens the task file of a run which version 0.1 launched: it recorded only the file's name.
    The engine calls it if the store has no tasks."""

    def open_file(row: RunRow) -> Iterable[Mapping[str, Data]] | None:
        name = row.source.get("tasks")
        if not name:
            return None
        if view.tasks.total is not None:
            return []  # all tasks were opened before
        skip_bad = bool(row.source.get("skip_bad"))
        return TaskFile(str(name), definition, view.inputs, skip_bad=skip_bad, report=report)

    return open_file


def adopt_python_file(db: Path, row: RunRow, author: Author, *, accept: bool) -> tuple[RunRow, str]:
    """The run to resume, and a notice for the operator. If the run's Python file defines another workflow now,
    `accept` makes a fork that shares the results that still fit and ends this run. Raises UsageError, with what
    changed, without `accept`."""
    file = str(row.source.get("file") or "")
    if not file.endswith(".py") or not Path(file).exists():
        return row, ""
    new = override(load_functions(Path(file))[0], row.source.get("set") or ())
    if new.identity == row.identity or new.name != row.workflow:
        return row, ""
    with closing(Reader(db)) as reader:
        changes = "; ".join(differences(definition_of(reader, row), new))
        if not accept:
            raise UsageError(
                f"{file} has changed since {row.run} began: {changes}. Restore the file, or continue with "
                f"its current content and the results that still fit: agentdeck resume {row.run} --accept-changes"
            )
        made = fork(db, Fork(row.run, definition=new, author=author))
        supersede(db, row, made.run, author.text)
        notice = f"{changes}: {row.run} continues as {made.run}, with {made.shared:,} of its results"
        return reader.run(made.run), notice
