"""`approve`: an answer to a step that asks a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agentdeck.cli import complete
from agentdeck.cli.options import by_option, db_option, run_argument

if TYPE_CHECKING:
    from agentdeck.workflow.model import Approve, Data


@click.command()
@run_argument
@click.argument("step", metavar="STEP", shell_complete=complete.agents)
@click.argument("answer", metavar="yes|no", type=click.Choice(["yes", "no"]))
@click.option("--task", metavar="TASK", help="In this task; needed where the step waits in several.")
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="A value that the step asks for.")
@by_option
@db_option
def approve(
    run: str, step: str, answer: str, task: str | None, fields: tuple[str, ...], by: str | None, db: str | None
) -> int:
    """Answer a step that asks a person.

    Every field that the step declares without a default has to be given. The answer is recorded with your
    account, this host, and the name of --by.

    \b
    Examples:
      agentdeck approve last sign_off yes
      agentdeck approve last sign_off no --field reason="not before Monday" --by "Grace Hopper"
    """
    from agentdeck.cli.options import store
    from agentdeck.cli.send_command import ask
    from agentdeck.errors import UsageError
    from agentdeck.insight.prompt_text import approval
    from agentdeck.scheduler.approvals import refusal

    with store(db) as reader:
        row = reader.run(run)
        does = approval(reader, row, step, task)
    values = _fields(does, step, fields)
    if does is not None and (why := refusal(step, does, values)):
        raise UsageError(why)
    args: dict[str, Data] = {"step": step, "approved": answer == "yes", "fields": values}
    return ask(db, row.run, "approve", {**args, **({"task": task} if task else {})}, by=by)


def _fields(does: Approve | None, step: str, fields: tuple[str, ...]) -> dict[str, Data]:
    """Values by the types that the step declares."""
    import difflib

    from agentdeck.errors import UsageError
    from agentdeck.operations.inputs import pair, read
    from agentdeck.workflow.model import Type

    declared = does.fields if does is not None else {}
    values: dict[str, Data] = {}
    for text in fields:
        name, value = pair(text, "--field")
        if declared and name not in declared:
            near = difflib.get_close_matches(name, declared, n=1)
            known = f"did you mean {near[0]}?" if near else f"it has {', '.join(declared)}"
            raise UsageError(f"{step} has no field {name}; {known}")
        try:
            values[name] = read(value, declared.get(name, Type()))
        except ValueError as error:
            raise UsageError(f"--field {name}: {error}") from None
    return values
