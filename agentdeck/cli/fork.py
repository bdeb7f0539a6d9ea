"""`fork`: a new run on the results of another one."""

from __future__ import annotations

from pathlib import Path

import click

from agentdeck.cli import complete
from agentdeck.cli.options import (
    by_option,
    db_option,
    folder_option,
    json_option,
    out_option,
    run_argument,
    wait_option,
)


@click.command()
@run_argument
@click.option(
    "--from",
    "start",
    metavar="AGENT",
    shell_complete=complete.agents,
    help="Share what comes before this agent, run the rest.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="inputs.n=5, or as in run: agents.a.timeout=5s.",
)
@db_option
@click.option("--yes", is_flag=True, help="Approve whatever asks a person.")
@wait_option
@out_option
@folder_option
@by_option
@json_option("Print one JSON object at the end: the summary.")
def fork(
    run: str,
    start: str | None,
    settings: tuple[str, ...],
    db: str | None,
    yes: bool,
    wait: bool,
    out: str | None,
    folder: Path | None,
    by: str | None,
    as_json: bool,
) -> int:
    """Start a new run that shares all results before AGENT; without it, all that did not fail.

    The other run stays as it is. Shared results cost nothing and count as reused.

    \b
    Examples:
      agentdeck fork last --from writer
      agentdeck fork last --from writer --set inputs.topic="Wood stoves"
      agentdeck fork last --set agents.writer.timeout=5m

    Exit codes: 0 all done, 1 some steps finally failed, 2 usage or an invalid file, 3 the store or a
    provider is unusable, 130 interrupted (resumable).
    """
    from agentdeck.cli.error_output import say
    from agentdeck.cli.options import moved, store
    from agentdeck.cli.resume_session import Execution, take_up
    from agentdeck.cli.run_session import conclude
    from agentdeck.engine.fork import Fork
    from agentdeck.engine.fork import fork as make
    from agentdeck.engine.resume import definition_of
    from agentdeck.insight.formatting import plural
    from agentdeck.operations.author import author
    from agentdeck.operations.overrides import override
    from agentdeck.operations.retry import inputs_from_settings
    from agentdeck.operations.settings import database

    others = [text for text in settings if not text.startswith("inputs.")]
    with store(db) as reader:
        row = moved(reader, run, folder, by)
        inputs = inputs_from_settings(reader, row, tuple(text for text in settings if text not in others))
        definition = override(definition_of(reader, row), others)
    source = {"set": [*(row.source.get("set") or ()), *others]} if others else {}
    made = make(database(db), Fork(row.run, start, inputs, definition, source, author(by or "")))
    say(f"{made.run} shares {plural(made.shared, 'result')} of {row.run}")
    with store(db) as reader:
        new = reader.run(made.run)
    return conclude(*take_up(new, Execution(db, yes, wait, as_json, by or "", out)), as_json)
