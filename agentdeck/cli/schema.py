"""`schema`: for editors."""

from __future__ import annotations

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of workflow files, for editors."""
    from agentdeck.cli.pages import dump
    from agentdeck.workflow.schema import schema as make

    dump(make(), indent=2)
