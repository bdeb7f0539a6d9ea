"""The verbs that send one command to the process that holds a run, and print its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agentdeck.cli import complete
from agentdeck.cli.error_output import DONE, FAILED, say
from agentdeck.cli.options import command_options, run_argument
from agentdeck.cli.text_tables import out, print_document
from agentdeck.operations import commands
from agentdeck.operations.author import author
from agentdeck.operations.recorded_run import open_store
from agentdeck.operations.settings import database

if TYPE_CHECKING:
    from agentdeck.operations.commands import RunCommand
    from agentdeck.store.command_client import CommandAnswer


def send(db: str | None, run: str, command: RunCommand, as_json: bool = False, by: str = "") -> int:
    """Send a command, wait for the answer and print it; returns the exit code. `by` is the name of --by."""
    return report(commands.send(database(db), run, command, author(by)), as_json)


def report(answer: CommandAnswer, as_json: bool) -> int:
    """Print the answer to a command; returns the exit code."""
    if as_json:
        from agentdeck.documents.command import Answer

        print_document(Answer.model_construct(run=answer.run, ok=answer.ok, answer=answer.text))
    elif answer.ok:
        out(f"{answer.run}: {answer.text}")
    else:
        say(answer.text if answer.text.startswith(answer.run) else f"{answer.run}: {answer.text}")
    return DONE if answer.ok else FAILED


@click.command()
@run_argument
@command_options
def pause(run: str, by: str, db: str | None) -> int:
    """Pause a run: running steps finish, no new ones start. `resume` continues the run.

    \b
    Example:
      agentdeck pause last
    """
    return send(db, run, commands.pause(), by=by)


@click.command()
@run_argument
@command_options
def drain(run: str, by: str, db: str | None) -> int:
    """Let running steps finish, then end the process that executes the run. `resume` continues it.

    \b
    Example:
      agentdeck drain last
    """
    return send(db, run, commands.drain(), by=by)


@click.command()
@run_argument
@click.option("--task", metavar="TASK", help="Only in this task.")
@click.option(
    "--step", metavar="STEP", shell_complete=complete.agents, help="Only this step, in one task or in all tasks."
)
@click.option("--now", is_flag=True, help="Kill running programs at once, without time to end by themselves.")
@command_options
def cancel(run: str, task: str | None, step: str | None, now: bool, by: str, db: str | None) -> int:
    """Cancel a run, a task or a step. Running steps are stopped; programs get time to end by themselves.

    \b
    Examples:
      agentdeck cancel last
      agentdeck cancel last --task 17
      agentdeck cancel last --task 17 --step payment --now
    """
    return send(db, run, commands.cancel(task, step, now=now), by=by)


@click.command()
@run_argument
@click.argument("step", metavar="STEP", shell_complete=complete.agents)
@click.option("--task", metavar="TASK", default="1", show_default=True, help="In this task.")
@command_options
def skip(run: str, step: str, task: str, by: str, db: str | None) -> int:
    """Skip a step that has not ended: steps that need it no longer wait for it. A step whose needs are all
    skipped is skipped too.

    \b
    Example:
      agentdeck skip last courier --task 17
    """
    return send(db, run, commands.skip(step, task), by=by)


@click.command()
@run_argument
@click.argument("task", metavar="TASK")
@command_options
def hurry(run: str, task: str, by: str, db: str | None) -> int:
    """Run a task before all others.

    \b
    Example:
      agentdeck hurry last 17
    """
    return send(db, run, commands.hurry(task), by=by)


@click.command()
@run_argument
@click.argument("step", metavar="STEP", shell_complete=complete.agents)
@click.option("--task", metavar="TASK", help="In this task; required if the step waits in several tasks.")
@command_options
def release(run: str, step: str, task: str | None, by: str, db: str | None) -> int:
    """Start a step with what has arrived, without waiting for the rest of its needs.

    \b
    Example:
      agentdeck release last synthesis --task 17
    """
    return send(db, run, commands.release(step, task), by=by)


@click.command()
@run_argument
@click.argument("step", metavar="STEP", shell_complete=complete.agents)
@click.argument("answer", metavar="yes|no", type=click.Choice(["yes", "no"]))
@click.option("--task", metavar="TASK", help="In this task; required if the step waits in several tasks.")
@click.option(
    "--field", "fields", multiple=True, metavar="NAME=VALUE", help="The value of a field that the step asks for."
)
@command_options
def approve(
    run: str, step: str, answer: str, task: str | None, fields: tuple[str, ...], by: str, db: str | None
) -> int:
    """Approve or reject a step that asks for it.

    Fields without a default are required. The answer is recorded with your account, this host and the name given
    with --by.

    \b
    Examples:
      agentdeck approve last sign_off yes
      agentdeck approve last sign_off no --field reason="not before Monday" --by "Grace Hopper"
    """
    with open_store(db) as reader:
        row = reader.run(run)
        command = commands.approve(reader, row, step, task, answer == "yes", fields)
    return send(db, row.run, command, by=by)
