"""`approve`: an answer to a step that asks a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agentdeck.cli import complete
from agentdeck.cli.options import db_option, run_argument

if TYPE_CHECKING:
    from agentdeck.workflow.model import Data, Definition


@click.command()
@run_argument
@click.argument("step", metavar="STEP", shell_complete=complete.agents)
@click.argument("answer", metavar="yes|no", type=click.Choice(["yes", "no"]))
@click.option("--task", metavar="TASK", help="In this task; needed where the step waits in several.")
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="A value that the step asks for.")
@db_option
def approve(run: str, step: str, answer: str, task: str | None, fields: tuple[str, ...], db: str | None) -> int:
    """Answer a step that asks a person.

    \b
    Examples:
      agentdeck approve last sign_off yes
      agentdeck approve last sign_off no --field reason="not before Monday"
    """
    from agentdeck.cli.ask import ask
    from agentdeck.cli.options import store
    from agentdeck.workflow.model import restored

    with store(db) as reader:
        row = reader.run(run)
        values = _fields(restored(reader.definition(row.identity)), step, fields)
    args: dict[str, Data] = {"step": step, "approved": answer == "yes", "fields": values}
    return ask(db, row.run, "approve", {**args, **({"task": task} if task else {})})


def _fields(definition: Definition, step: str, fields: tuple[str, ...]) -> dict[str, Data]:
    """Values by the types that the step declares. A step below another workflow declares none here."""
    import difflib

    from agentdeck.cli.inputs import pair, read
    from agentdeck.errors import UsageError
    from agentdeck.workflow.model import Approve, Type

    agent = definition.agents.get(step.partition("[")[0])
    declared = agent.does.fields if agent is not None and isinstance(agent.does, Approve) else {}
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
