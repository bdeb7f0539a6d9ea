"""`run`: execute a workflow until it ends."""

from __future__ import annotations

from typing import Any

import click

from agentdeck.cli.options import (
    db_option,
    has_operator,
    json_option,
    out_option,
    wait_answers_option,
    wait_option,
)


@click.command()
@click.argument("file", metavar="FILE", type=click.Path())
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="KEY=VALUE",
    help="An input of the workflow; @file reads a file.",
)
@click.option(
    "--inputs",
    "inputs_file",
    metavar="FILE",
    type=click.Path(),
    help="A JSON file with inputs, as one object; -i overrides them.",
)
@click.option(
    "--tasks",
    metavar="FILE",
    type=click.Path(),
    help="A .jsonl or .csv file with one task per line; - reads JSON lines from stdin.",
)
@click.option("--workers", type=click.IntRange(1, 10_000), metavar="N", help="Number of steps that run at once.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change a setting: agents.extract.timeout=5s."
)
@db_option
@out_option
@click.option("--skip-bad", is_flag=True, help="Leave out task lines that cannot be read.")
@click.option("--yes", is_flag=True, help="Approve every step that asks for approval.")
@wait_option
@wait_answers_option
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A word by which to find the run later.")
@click.option("--run-id", "run", default="", hidden=True)  # the console needs the id before the run has begun
@json_option("Print the summary as one JSON object at the end.")
def run(wait: bool, wait_answers: bool, as_json: bool, **given: Any) -> int:
    """Run a workflow and wait until it ends.

    stdout has the result: the output of a single task, or the summary with --json. Progress goes to stderr.
    Ctrl-C drains the run: running steps finish, and `resume` continues it. A second Ctrl-C cancels it.

    \b
    Examples:
      agentdeck run order.yaml
      agentdeck run order.yaml -i customer="Grace Hopper" -i items=@items.json
      agentdeck run order.yaml --tasks orders.jsonl --workers 400 --out done.jsonl
      agentdeck run order.yaml --set agents.payment.timeout=5s --json

    Exit codes: 0 all done, 1 some steps failed, 2 usage or an invalid file, 3 the store or a
    provider is unusable, 130 interrupted (resumable).
    """
    from agentdeck.cli.error_output import say_with_details
    from agentdeck.cli.run_process import own_stdout
    from agentdeck.operations.launch import RunOptions, prepare_launch

    own_stdout()
    options = RunOptions(**given, wait=wait or (has_operator() and not wait_answers))
    prepared = prepare_launch(options, say_with_details, _warn)

    from agentdeck.cli.run_session import launch_here

    return launch_here(prepared, options.out, as_json, answered=wait_answers)


def _warn(warning: str) -> None:
    from agentdeck.cli.error_output import tidy

    click.echo(tidy(warning), err=True)
