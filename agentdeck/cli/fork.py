"""`fork`: start a new run that shares results of another run."""

from __future__ import annotations

from pathlib import Path

import click

from agentdeck.cli import complete
from agentdeck.cli.error_output import say
from agentdeck.cli.options import by_option, db_option, execution_options, json_option, run_argument
from agentdeck.insight.formatting import plural
from agentdeck.operations.author import author
from agentdeck.operations.recorded_run import open_store, relocated
from agentdeck.operations.settings import database


@click.command()
@run_argument
@click.option(
    "--from",
    "start",
    metavar="AGENT",
    shell_complete=complete.agents,
    help="Reuse the results before this agent, run the rest.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="inputs.n=5, or as in run: agents.a.timeout=5s.",
)
@db_option
@click.option("--yes", is_flag=True, help="Approve every step that asks for approval.")
@execution_options
@by_option
@json_option("Print the summary as one JSON object at the end.")
def fork(
    run: str,
    start: str | None,
    settings: tuple[str, ...],
    db: str | None,
    yes: bool,
    wait: bool,
    out: str | None,
    folder: Path | None,
    by: str,
    as_json: bool,
) -> int:
    """Start a new run that reuses all results before AGENT; without --from, all results of steps that succeeded.

    The other run does not change. Reused results cost nothing.

    \b
    Examples:
      agentdeck fork last --from writer
      agentdeck fork last --from writer --set inputs.topic="Wood stoves"
      agentdeck fork last --set agents.writer.timeout=5m

    Exit codes: 0 all done, 1 some steps failed, 2 usage or an invalid file, 3 the store or a
    provider is unusable, 130 interrupted (resumable).
    """
    from agentdeck.cli.run_session import ExecutionOptions, conclude, resume_here
    from agentdeck.operations.fork import fork_with_settings

    with open_store(db) as reader:
        row = relocated(reader, run, folder, author(by))
    made = fork_with_settings(database(db), row, start, settings, author(by))
    say(f"{made.run} reuses {plural(made.shared, 'result')} of {row.run}")
    with open_store(db) as reader:
        new = reader.run(made.run)
    return conclude(resume_here(new, ExecutionOptions(db, yes, wait, as_json=as_json, by=by, out=out)), as_json)
