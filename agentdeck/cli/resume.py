"""`resume`: continue an interrupted run in this process, or a paused one in its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentdeck.cli import complete
from agentdeck.cli.commands import send
from agentdeck.cli.error_output import FAILED, say
from agentdeck.cli.options import by_option, db_option, execution_options, json_option, wait_answers_option
from agentdeck.errors import UsageError
from agentdeck.operations.author import author
from agentdeck.operations.commands import unpause
from agentdeck.operations.recorded_run import open_store, relocated
from agentdeck.operations.settings import database

if TYPE_CHECKING:
    from agentdeck.cli.run_session import ExecutionOptions
    from agentdeck.store.run_list import RunRow


@click.command()
@click.argument("run", metavar="[RUN]", required=False, shell_complete=complete.runs)
@click.option("--all", "everyone", is_flag=True, help="Resume all interrupted runs, one after another.")
@db_option
@click.option("--yes", is_flag=True, help="Approve every step that asks for approval.")
@execution_options
@wait_answers_option
@click.option(
    "--accept-changes", is_flag=True, help="Continue with the current modules and images, although they changed."
)
@by_option
@json_option("Print the summary of each run as one JSON object.")
def resume(
    run: str | None,
    everyone: bool,
    db: str | None,
    yes: bool,
    wait: bool,
    wait_answers: bool,
    out: str | None,
    folder: Path | None,
    accept_changes: bool,
    by: str,
    as_json: bool,
) -> int:
    """Continue a run that was drained or whose process died. Recorded results are not computed again.

    For a paused run, this sends `resume` to its process and returns at once. Tasks and definitions are those
    recorded at the launch. Python modules and images are compared with their hashes of the launch; if they
    differ, --accept-changes is required.

    \b
    Examples:
      agentdeck resume last
      agentdeck resume --all

    Exit codes: 0 all done, 1 some steps failed, 2 usage or an invalid file, 3 the store or a
    provider is unusable, 130 interrupted (resumable).
    """
    from agentdeck.cli.run_session import ExecutionOptions

    if (run is None) is not everyone:
        raise click.UsageError("name a run, or use --all")
    if everyone and out is not None:
        raise click.UsageError("--out takes the tasks of one run; leave out --all")
    if everyone and folder is not None:
        raise click.UsageError("--folder belongs to one run; leave out --all")
    options = ExecutionOptions(db, yes, wait, wait_answers, as_json, by, out)
    with open_store(db) as reader:
        if run is not None:
            row = relocated(reader, run, folder, author(options.by))
        else:
            rows = reader.runs(100_000, state="interrupted")
    if run is not None:
        return _resume(row, options, accept_changes)
    if not rows:
        click.echo("no run is interrupted", err=True)
    return max([_resume_one_of_all(row, options, accept_changes) for row in reversed(rows)], default=0)


def _resume_one_of_all(row: RunRow, options: ExecutionOptions, accept_changes: bool) -> int:
    """Resume a run; report a run that cannot be resumed, so that the next one is tried."""
    try:
        return _resume(row, options, accept_changes)
    except UsageError as error:
        say(str(error))
        return FAILED


def _resume(row: RunRow, options: ExecutionOptions, accept_changes: bool) -> int:
    from agentdeck.cli.run_session import conclude, refuse_out, resume_here
    from agentdeck.operations.resume import adopt_python_file

    if row.state == "paused":
        refuse_out(row, options)
        return send(options.db, row.run, unpause(), options.as_json, options.by)
    if row.state == "running":
        raise UsageError(
            f"{row.run} is running in process {row.pid} on {row.host}; follow it with: agentdeck watch {row.run}"
        )
    row, notice = adopt_python_file(database(options.db), row, author(options.by), accept=accept_changes)
    if notice:
        say(notice)
    return conclude(resume_here(row, options, accept_changes=accept_changes), options.as_json)
