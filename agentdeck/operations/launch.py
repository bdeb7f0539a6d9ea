"""Launching a run in this process: from a workflow file, or from a workflow that a program holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentdeck.errors import InvalidFile, UsageError
from agentdeck.operations.author import author
from agentdeck.operations.inputs import check_complete, inputs_from, inputs_in
from agentdeck.operations.out_file import refuse_input
from agentdeck.operations.overrides import override
from agentdeck.operations.program_inputs import plain_inputs, plain_tasks
from agentdeck.operations.settings import MAX_WORKERS, database, workers
from agentdeck.operations.task_files import STDIN, Report, TaskFile
from agentdeck.workflow.loader import load

if TYPE_CHECKING:
    from agentdeck.engine.launch import Launch
    from agentdeck.errors import Issue
    from agentdeck.operations.task_pipe import PipedTasks
    from agentdeck.store.tasks import TaskSpool
    from agentdeck.workflow.loader import Loaded
    from agentdeck.workflow.model import Data, Definition


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of `agentdeck run`, as text. `inputs_file` is a file of inputs, which `inputs` override. `run`
    is the id of the run, empty for a new one; `out` is only checked. Without `wait` the run stops when it cannot
    continue until an operator acts."""

    file: str
    inputs: Sequence[str] = ()
    inputs_file: str | None = None
    tasks: str | None = None
    workers: int | None = None
    settings: Sequence[str] = ()
    db: str | None = None
    out: str | None = None
    skip_bad: bool = False
    yes: bool = False
    wait: bool = True
    tags: Sequence[str] = ()
    run: str = ""


@dataclass(frozen=True, slots=True)
class PreparedLaunch:
    """What `engine.launch.run` starts. `total` is the number of tasks, None while a pipe may deliver more."""

    launch: Launch
    total: int | None


def prepare_launch(options: RunOptions, report: Report, warn: Callable[[str], None]) -> PreparedLaunch:
    """Load and check everything that a run needs. `warn` receives the warnings of the workflow file, `report` the
    task lines that were left out. Raises InvalidFile, UsageError, StoreError."""
    path = Path(options.file)
    loaded = load(path)
    for warning in loaded.warnings:
        warn(str(warning))
    definition = override(loaded.definition, options.settings)
    folder = definition.folder or path.resolve().parent
    inputs = {} if options.inputs_file is None else inputs_in(options.inputs_file, definition)
    inputs |= inputs_from(options.inputs, definition)
    store = database(options.db)
    source: TaskSpool | PipedTasks | None = None
    total: int | None = 1
    record: dict[str, Data] = {"file": str(path.resolve()), "folder": str(folder.resolve())}
    if options.tasks is None:
        check_complete(definition, inputs)
    else:
        tasks = TaskFile(options.tasks, definition, inputs, skip_bad=options.skip_bad, report=report)
        source, total = _open(tasks)
        record |= {"tasks": tasks.source}
        record |= {"total": total} if total is not None else {}
    record |= {"skip_bad": True} if options.skip_bad else {}
    record |= {"set": list(options.settings)} if options.settings else {}
    _check_code(loaded, definition, folder, options.file)
    refuse_input(options.out, path, options.tasks if options.tasks != STDIN else None)

    # The engine takes longest to import: a mistake in the files is reported before.
    from agentdeck.engine.launch import Launch

    launch = Launch(
        definition,
        folder,
        inputs,
        source,
        workers(options.workers, definition, folder),
        dict(loaded.functions),
        store,
        record,
        options.yes,
        author(),
        tags=tuple(dict.fromkeys(options.tags)),
        run=options.run,
        wait=options.wait,
    )
    return PreparedLaunch(launch, total)


def load_workflow(file: Path) -> Loaded:
    """The workflow in a file, with its functions where it is Python. Raises InvalidFile, also if a module or a
    function that it names is missing."""
    loaded = load(file)
    _check_code(loaded, loaded.definition, loaded.definition.folder or file.resolve().parent, str(file))
    return loaded


def prepare_workflow(
    definition: Definition,
    folder: Path,
    functions: Mapping[str, Callable[..., Any]],
    inputs: Mapping[str, Data],
    *,
    tasks: Iterable[Mapping[str, Data]] | None = None,
    workers: int | None = None,
    db: Path | None = None,
    wait: bool = False,
    tags: Iterable[str] = (),
    file: Path | None = None,
) -> Launch:
    """The launch of a workflow that a program holds, under a new id; `file` is where it was loaded from.
    Raises UsageError for inputs that do not fit the workflow; reading a task that does not fit raises it too."""
    from agentdeck.engine.author import current_author
    from agentdeck.engine.launch import Launch
    from agentdeck.store.runs import new_run

    given = plain_inputs(definition, inputs, complete=tasks is None)
    if workers is not None and not 1 <= workers <= MAX_WORKERS:
        raise UsageError(f"workers={workers} is out of range: 1 to {MAX_WORKERS}")
    return Launch(
        definition,
        definition.folder or folder,
        given,
        None if tasks is None else plain_tasks(definition, given, tasks),
        workers,
        functions,
        db,
        source={} if file is None else {"file": str(file.resolve())},
        author=current_author("api"),
        tags=tuple(dict.fromkeys(tags)),
        run=new_run(),
        wait=wait,
    )


def _open(file: TaskFile) -> tuple[TaskSpool | PipedTasks, int | None]:
    """The tasks, and their number if it is known: a file is read whole before the run starts."""
    from agentdeck.operations.task_pipe import PipedTasks, is_pipe

    if file.name == STDIN and is_pipe():
        source = PipedTasks(file)
        return source, source.wait_for_first()
    spool = file.spool()
    return spool, spool.count


def _check_code(loaded: Loaded, definition: Definition, folder: Path, file: str) -> None:
    """Raises InvalidFile if a module or a function is missing."""
    from agentdeck.workflow.code_check import check_code

    found = check_code(definition, folder, loaded.functions, loaded.positions, file)
    faults: list[Issue] = [issue for issue in found if not issue.warning]
    if faults:
        raise InvalidFile(faults)
