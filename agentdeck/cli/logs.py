"""`logs`: what agents said."""

from __future__ import annotations

import click

from agentdeck.cli import complete
from agentdeck.cli.options import db_option, json_option, run_argument


@click.command()
@run_argument
@db_option
@click.option(
    "--agent",
    metavar="NAME",
    shell_complete=complete.agents,
    help="Of this agent, or of one step of it (name[0]).",
)
@click.option("--task", metavar="TASK", help="Of this task.")
@click.option("--tail", type=click.IntRange(1), metavar="N", help="The last so many lines.")
@json_option("JSON lines, one per line.")
def logs(run: str, db: str | None, agent: str | None, task: str | None, tail: int | None, as_json: bool) -> None:
    """Print what agents logged. RUN is an id, the beginning of one, or `last`.

    \b
    Examples:
      agentdeck logs last --tail 50
      agentdeck logs last --agent payment --task 17
    """
    from dataclasses import asdict

    from agentdeck.cli.text_tables import dump, out
    from agentdeck.engine.resume import definition_of
    from agentdeck.insight.formatting import clock
    from agentdeck.operations.recorded_run import known_agent, open_store
    from agentdeck.terminal_text import clean

    with open_store(db) as reader:
        row = reader.run(run)
        found = reader.logs(row.run, agent=agent, task=task, tail=tail)
        if agent is not None and not found:
            known_agent(definition_of(reader, row), agent.partition("[")[0])
    for line in found:
        if as_json:
            dump({"run": row.run, **asdict(line)})
        else:
            level = "" if line.level == "info" else f"{line.level}: "
            out(clean(f"{clock(line.at)}  {line.task}/{line.step}  {level}{line.text}"))
