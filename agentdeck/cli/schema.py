"""`schema`: for editors."""

from __future__ import annotations

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of workflow files, for editors.

    \b
    Example, with this line first in your files:
      agentdeck schema > agentdeck.schema.json
      # yaml-language-server: $schema=agentdeck.schema.json
    """
    from agentdeck.cli.text_tables import dump
    from agentdeck.workflow.schema import schema as make

    dump(make(), indent=2)
