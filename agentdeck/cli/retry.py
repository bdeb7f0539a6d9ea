"""`retry`: run failed steps again, in this process or in the one that holds the run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentdeck.cli import complete
from agentdeck.cli.commands import report
from agentdeck.cli.error_output import say
from agentdeck.cli.options import (
    by_option,
    db_option,
    execution_options,
    json_option,
    run_argument,
    wait_answers_option,
)
from agentdeck.cli.text_tables import table
from agentdeck.insight.formatting import plural
from agentdeck.operations import commands
from agentdeck.operations.author import author
from agentdeck.operations.recorded_run import known_agent, open_store, relocated
from agentdeck.operations.settings import database

if TYPE_CHECKING:
    from agentdeck.cli.run_session import ExecutionOptions
    from agentdeck.operations.retry import RetryPlan


@click.command()
@run_argument
@click.option("--failed", is_flag=True, help="Retry everything that failed (the default).")
@click.option("--agent", metavar="AGENT", shell_complete=complete.agents, help="Only failed steps of this agent.")
@click.option("--task", metavar="TASK", help="Only in this task.")
@click.option(
    "--from",
    "start",
    metavar="AGENT",
    shell_complete=complete.agents,
    help="Run this agent and everything after it again, failed or not.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="inputs.NAME=VALUE", help="Change an input of the tasks."
)
@click.option("--yes", is_flag=True, help="Start without asking.")
@by_option
@execution_options
@wait_answers_option
@db_option
@json_option("Print the summary as one JSON object at the end.")
def retry(
    run: str,
    failed: bool,
    agent: str | None,
    task: str | None,
    start: str | None,
    settings: tuple[str, ...],
    yes: bool,
    by: str,
    wait: bool,
    wait_answers: bool,
    out: str | None,
    folder: Path | None,
    db: str | None,
    as_json: bool,
) -> int:
    """Run again what failed, with the steps that depended on it. Earlier attempts stay recorded.

    Prints what will run; on a terminal it asks before it starts.

    \b
    Examples:
      agentdeck retry last
      agentdeck retry last --agent payment --set inputs.country=FR
      agentdeck retry last --from payment --yes

    Exit codes: 0 all retried steps succeeded, 1 some failed again, 2 usage or an invalid file, 3 the
    store or a provider is unusable, 130 interrupted (resumable).
    """
    from agentdeck.cli.run_session import ExecutionOptions
    from agentdeck.engine.resume import definition_of
    from agentdeck.operations.retry import inputs_from_settings, plan_failed, plan_from

    if start is not None and (failed or agent is not None):
        raise click.UsageError("--from already names the agent; leave out --failed and --agent")
    with open_store(db) as reader:
        row = relocated(reader, run, folder, author(by))
        inputs = inputs_from_settings(reader, row, settings)
        if start is not None:
            plan = plan_from(reader, row, start, inputs, task)
        else:
            if agent is not None:
                known_agent(definition_of(reader, row), agent)
            plan = plan_failed(reader, row, agent=agent, task=task, inputs=inputs)
    show_plan(plan)
    if not plan.steps:
        return 0
    if not yes and sys.stdin.isatty() and not click.confirm("Go?", err=True):
        return 1
    return execute(
        plan, ExecutionOptions(db, wait=wait, wait_answers=wait_answers, as_json=as_json, by=by, out=out)
    )


def show_plan(plan: RetryPlan) -> None:
    """Print which steps would run first, and which follow."""
    for letter in plan.undecided:
        say(
            f"dead letter {letter.id} is left out, as its step may have taken effect: agentdeck letters "
            f"show {letter.id}"
        )
    if not plan.steps:
        click.echo(f"{plan.run}: nothing to retry", err=True)
        return
    click.echo(
        f"{plan.run}: {plural(len(plan.steps), 'step')} of {plural(plan.tasks, 'task')} will run again", err=True
    )
    names = dict.fromkeys([*plan.chosen, *plan.dependent])
    counts = (plan.chosen, plan.dependent)
    rows = [(*(f"{count.get(name, 0) or '-'}" for count in counts), name) for name in names]
    for line in table(("first", "after", "agent"), rows, right=(0, 1)):
        click.echo("  " + line, err=True)


def execute(plan: RetryPlan, options: ExecutionOptions) -> int:
    """Send the plan to the process that executes the run, or else execute it in this process until the run ends;
    returns the exit code."""
    from agentdeck.cli.run_session import conclude, refuse_out, resume_here
    from agentdeck.operations.retry import newest_letter, succeeded

    with open_store(options.db) as reader:
        row = reader.run(plan.run)
        newest = newest_letter(reader, plan.run)
        executed = reader.takes_commands(row)
    if executed:
        refuse_out(row, options)
        answer = commands.send(database(options.db), plan.run, plan.command, author(options.by))
        if not answer.run_over:
            return report(answer, options.as_json)
    finished = resume_here(row, options, plan.reopened)
    with open_store(options.db) as reader:
        good = finished.outcome.state == "failed" and succeeded(reader, plan, newest)
    return conclude(finished, options.as_json, succeeded=good)
