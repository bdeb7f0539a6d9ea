"""`retry`: what failed goes again, in this process or in the one that holds the run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from agentdeck.cli.resume_session import Execution
    from agentdeck.engine.retry import RetryPlan


@click.command()
@run_argument
@click.option("--failed", is_flag=True, help="All that failed; so it is without any option.")
@click.option("--agent", metavar="AGENT", shell_complete=complete.agents, help="What failed of this agent.")
@click.option("--task", metavar="TASK", help="Only in this task.")
@click.option(
    "--from",
    "start",
    metavar="AGENT",
    shell_complete=complete.agents,
    help="This agent and everything after it, failed or not.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="inputs.NAME=VALUE", help="Another input for its tasks."
)
@click.option("--yes", is_flag=True, help="Do not ask whether to go.")
@by_option
@wait_option
@out_option
@folder_option
@db_option
@json_option("Print one JSON object at the end: the summary.")
def retry(
    run: str,
    failed: bool,
    agent: str | None,
    task: str | None,
    start: str | None,
    settings: tuple[str, ...],
    yes: bool,
    by: str | None,
    wait: bool,
    out: str | None,
    folder: Path | None,
    db: str | None,
    as_json: bool,
) -> int:
    """Run again what failed, with what depended on it. Earlier attempts stay in the history.

    Says first what will run; on a terminal it asks before it goes.

    \b
    Examples:
      agentdeck retry last
      agentdeck retry last --agent payment --set inputs.country=FR
      agentdeck retry last --from payment --yes

    Exit codes: 0 what was to run again is done, 1 some of it finally failed, 2 usage or an invalid file, 3 the
    store or a provider is unusable, 130 interrupted (resumable).
    """
    from agentdeck.cli.options import moved, store
    from agentdeck.cli.resume_session import Execution
    from agentdeck.engine.resume import definition_of
    from agentdeck.engine.retry import all_from, known_agent
    from agentdeck.engine.retry import failed as all_failed
    from agentdeck.operations.retry import inputs_from_settings

    if start is not None and (failed or agent is not None):
        raise click.UsageError("--from takes an agent and everything after it; leave out --failed and --agent")
    with store(db) as reader:
        row = moved(reader, run, folder, by)
        inputs = inputs_from_settings(reader, row, settings)
        if agent is not None:
            known_agent(definition_of(reader, row), agent)
        plan = (
            all_from(reader, row, start, inputs, task)
            if start is not None
            else all_failed(reader, row, agent=agent, task=task, inputs=inputs)
        )
    show(plan)
    if not plan.steps:
        return 0
    if not yes and sys.stdin.isatty() and not click.confirm("Go?", err=True):
        return 1
    return release(plan, Execution(db, wait=wait, as_json=as_json, by=by or "", out=out))


def show(plan: RetryPlan) -> None:
    """What will run first, and what follows, before anything does."""
    from agentdeck.cli.error_output import say
    from agentdeck.cli.text_tables import table
    from agentdeck.insight.formatting import plural

    for letter in plan.left:
        say(f"letter {letter.id} is left out, as it may have taken effect: agentdeck letters show {letter.id}")
    if not plan.steps:
        click.echo(f"{plan.run}: nothing to run again", err=True)
        return
    tasks = len({task.partition("/")[0] for task, _ in plan.steps})
    click.echo(f"{plan.run}: {plural(len(plan.steps), 'step')} of {plural(tasks, 'task')} again", err=True)
    names = [*plan.first, *(name for name in plan.after if name not in plan.first)]
    rows = [(f"{plan.first.get(name, 0) or '-'}", f"{plan.after.get(name, 0) or '-'}", name) for name in names]
    for line in table(("first", "after", "agent"), rows, right=(0, 1)):
        click.echo("  " + line, err=True)


def release(plan: RetryPlan, how: Execution) -> int:
    """Let it go: in the process that holds the run, or in this one, until the run is over."""
    from agentdeck.cli.options import store
    from agentdeck.cli.resume_session import not_here, take_up
    from agentdeck.cli.run_session import conclude
    from agentdeck.cli.send_command import ask

    with store(how.db) as reader:
        row = reader.run(plan.run)
        newest = max((letter.id for letter in reader.letters(plan.run)), default=0)
    if row.state in ("running", "paused"):
        not_here(row, how)
        return ask(how.db, plan.run, "retry", plan.request, how.as_json, by=how.by)
    outcome, definition, out = take_up(row, how, plan.again)
    good = outcome.state == "failed" and _succeeded(plan, how.db, newest)
    return conclude(outcome, definition, out, how.as_json, good=good)


def _succeeded(plan: RetryPlan, db: str | None, newest: int) -> bool:
    """Whether the steps that were chosen, and what follows them in their tasks, ended well. Letters up to
    `newest` are from before; other steps of the run may have failed then, and stay failed."""
    from agentdeck.cli.options import store
    from agentdeck.scheduler.state import root_of

    chosen, roots = set(plan.steps), {root_of(task) for task, _ in plan.steps}
    with store(db) as reader:
        letters = reader.letters(plan.run)
    return not any(
        letter.state in ("open", "retried")
        and ((letter.task, letter.step) in chosen or (letter.id > newest and root_of(letter.task) in roots))
        for letter in letters
    )
