"""`resume`: a run that nobody runs any more goes on here; a paused one goes on where it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentdeck.cli import complete
from agentdeck.cli.options import by_option, db_option, folder_option, json_option, out_option, wait_option

if TYPE_CHECKING:
    from agentdeck.cli.resume_session import Execution
    from agentdeck.store.run_list import RunRow


@click.command()
@click.argument("run", metavar="[RUN]", required=False, shell_complete=complete.runs)
@click.option("--all", "everyone", is_flag=True, help="Every run that was interrupted, one after the other.")
@db_option
@click.option("--yes", is_flag=True, help="Approve whatever asks a person.")
@wait_option
@out_option
@folder_option
@click.option("--accept-changes", is_flag=True, help="Go on with modules and images as they are now.")
@by_option
@json_option("Print one JSON object at the end of each run: the summary.")
def resume(
    run: str | None,
    everyone: bool,
    db: str | None,
    yes: bool,
    wait: bool,
    out: str | None,
    folder: Path | None,
    accept_changes: bool,
    by: str | None,
    as_json: bool,
) -> int:
    """Go on with a run whose process died or drained: nothing recorded is run again.

    A run that is alive and paused is told to go on, and this returns at once. Tasks and definitions are those of
    the launch, whatever became of their files; Python modules and images are compared with their hashes at the
    launch, and a difference is refused without --accept-changes.

    \b
    Examples:
      agentdeck resume last
      agentdeck resume --all

    Exit codes: 0 all done, 1 some steps finally failed, 2 usage or an invalid file, 3 the store or a
    provider is unusable, 130 interrupted (resumable).
    """
    from agentdeck.cli.options import moved, store
    from agentdeck.cli.resume_session import Execution

    if (run is None) is not everyone:
        raise click.UsageError("say which run, or --all")
    if everyone and out is not None:
        raise click.UsageError("--out takes the tasks of one run; leave out --all")
    if everyone and folder is not None:
        raise click.UsageError("--folder is that of one run; leave out --all")
    with store(db) as reader:
        rows = [moved(reader, run, folder, by)] if run is not None else reader.runs(100_000, state="interrupted")
    how = Execution(db, yes, wait, as_json, by or "", out)
    if run is not None:
        return _resume(rows[0], how, accept_changes)
    if not rows:
        click.echo("no run is interrupted", err=True)
    return max([_one_of_all(row, how, accept_changes) for row in reversed(rows)], default=0)


def _one_of_all(row: RunRow, how: Execution, accept: bool) -> int:
    """One that cannot be resumed does not keep the others from it."""
    from agentdeck.cli.error_output import FAILED, say
    from agentdeck.errors import UsageError

    try:
        return _resume(row, how, accept)
    except UsageError as error:
        say(str(error))
        return FAILED


def _resume(row: RunRow, how: Execution, accept: bool) -> int:
    from agentdeck.cli.resume_session import carried_over, not_here, take_up
    from agentdeck.cli.run_session import conclude
    from agentdeck.cli.send_command import ask
    from agentdeck.errors import UsageError

    if row.state == "paused":
        not_here(row, how)
        return ask(how.db, row.run, "resume", {}, how.as_json, how.by)
    if row.state == "running":
        raise UsageError(f"{row.run} is running, in process {row.pid} on {row.host}; agentdeck watch {row.run}")
    return conclude(*take_up(carried_over(row, how, accept), how, accept=accept), how.as_json)
