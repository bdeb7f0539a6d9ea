"""`run`: a workflow, from its file to its end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentdeck.cli.options import attended, db_option, json_option, out_option, wait_option

if TYPE_CHECKING:
    from agentdeck.operations.task_files import TaskFile
    from agentdeck.operations.task_pipe import PipedTasks
    from agentdeck.store.tasks import TaskSpool
    from agentdeck.workflow.loader import Loaded
    from agentdeck.workflow.model import Definition


@click.command()
@click.argument("file", metavar="FILE", type=click.Path())
@click.option("-i", "--input", "inputs", multiple=True, metavar="KEY=VALUE", help="An input; @file reads a file.")
@click.option(
    "--tasks",
    metavar="FILE",
    type=click.Path(),
    help="A task per line of a .jsonl or .csv file; - is stdin (JSON lines).",
)
@click.option("--workers", type=click.IntRange(1, 10_000), metavar="N", help="How many steps at once.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="As agents.extract.timeout=5s.")
@db_option
@out_option
@click.option("--skip-bad", is_flag=True, help="Leave out task lines that cannot be read.")
@click.option("--yes", is_flag=True, help="Approve whatever asks a person.")
@wait_option
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A word to find the run by.")
@click.option("--run-id", "name", default="", hidden=True)  # the console knows a run before it has begun
@json_option("Print one JSON object at the end: the summary.")
def run(
    file: str,
    inputs: tuple[str, ...],
    tasks: str | None,
    workers: int | None,
    settings: tuple[str, ...],
    db: str | None,
    out: str | None,
    skip_bad: bool,
    yes: bool,
    wait: bool,
    tags: tuple[str, ...],
    name: str,
    as_json: bool,
) -> int:
    """Run a workflow, and stay until it is over.

    stdout is data: the output of a single task, or with --json the summary. stderr tells how it goes.
    Ctrl-C once lets running steps finish (`resume` goes on later), twice cancels.

    \b
    Examples:
      agentdeck run order.yaml
      agentdeck run order.yaml -i customer="Grace Hopper" -i items=@items.json
      agentdeck run order.yaml --tasks orders.jsonl --workers 400 --out done.jsonl
      agentdeck run order.yaml --set agents.payment.timeout=5s --json

    Exit codes: 0 all done, 1 some steps finally failed, 2 usage or an invalid file, 3 the store or a
    provider is unusable, 130 interrupted (resumable).
    """
    from agentdeck.cli.error_output import say, say_with_details, tidy
    from agentdeck.cli.process_exit import own_stdout
    from agentdeck.operations.inputs import check_complete, inputs_from
    from agentdeck.operations.overrides import override
    from agentdeck.operations.settings import database
    from agentdeck.operations.settings import workers as settle
    from agentdeck.operations.task_files import TaskFile
    from agentdeck.workflow.loader import load

    own_stdout()
    path = Path(file)
    loaded = load(path)
    for warning in loaded.warnings:
        click.echo(tidy(str(warning)), err=True)
    definition = override(loaded.definition, settings)
    folder = definition.folder or path.resolve().parent
    values = inputs_from(inputs, definition)
    store = database(db)
    source: TaskSpool | PipedTasks | None = None
    place = ""
    total: int | None = 1
    if tasks is None:
        check_complete(definition, values)
    else:
        given_tasks = TaskFile(tasks, definition, values, skip_bad=skip_bad, report=say_with_details)
        place = given_tasks.source
        source, total = _opened(given_tasks)
    functions = dict(loaded.functions)
    _check_python(loaded, definition, folder, file)

    # What costs most to import comes last: a mistake is told at once.
    from agentdeck.cli.progress import narrator
    from agentdeck.cli.run_session import conclude, conduct
    from agentdeck.engine.launch import Launch
    from agentdeck.engine.launch import run as start
    from agentdeck.operations.author import author
    from agentdeck.operations.out_file import OutFile, refuse_input

    launch = Launch(
        definition,
        folder,
        values,
        source,
        settle(workers, definition, folder),
        functions,
        store,
        {
            "file": str(path.resolve()),
            "folder": str(folder.resolve()),
            **({"tasks": place} if place else {}),
            **({"total": total} if tasks and total is not None else {}),
            **({"skip_bad": True} if skip_bad else {}),
            **({"set": list(settings)} if settings else {}),
        },
        yes,
        author(),
        tags=tuple(dict.fromkeys(tags)),
        run=name,
        wait=wait or attended(),
    )
    refuse_input(out, path, tasks if tasks != "-" else None)
    lines = OutFile(out, store, say)
    lines.start_new()
    outcome = conduct(
        lambda watch: start(launch, watch),
        narrator(definition, total),
        lambda name: f"agentdeck resume {name}",
        lines,
    )
    return conclude(outcome, definition, lines, as_json)


def _opened(file: TaskFile) -> tuple[TaskSpool | PipedTasks, int | None]:
    """The tasks, and how many where that is known: all of a file is read before anything starts."""
    from agentdeck.operations.task_files import STDIN
    from agentdeck.operations.task_pipe import PipedTasks, is_pipe

    if file.name == STDIN and is_pipe():
        source = PipedTasks(file)
        return source, source.wait_for_first()
    spool = file.spool()
    return spool, spool.count


def _check_python(loaded: Loaded, definition: Definition, folder: Path, file: str) -> None:
    """A module or function that is missing is told before anything starts."""
    from agentdeck.errors import InvalidFile
    from agentdeck.workflow.python_binding import check_python

    faults = [
        issue
        for issue in check_python(definition, folder, loaded.functions, loaded.positions, file)
        if not issue.warning
    ]
    if faults:
        raise InvalidFile(faults)
