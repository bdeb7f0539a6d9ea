"""`schema`: for editors and for programs that read `--json`."""

from __future__ import annotations

import click

from agentdeck.cli import complete


@click.command()
@click.argument("name", metavar="[NAME]", default="workflow", shell_complete=complete.schemas)
def schema(name: str) -> None:
    """Print a JSON Schema: of workflow files, of decks, or of a document that --json prints (summary, event,
    letter, …). An unknown NAME lists all.

    \b
    Examples:
      agentdeck schema > agentdeck.schema.json
      # then, as the first line of your workflow files:
      # yaml-language-server: $schema=agentdeck.schema.json
      agentdeck schema event
    """
    from agentdeck.cli.text_tables import dump
    from agentdeck.documents.registry import schema as schema_of

    dump(schema_of(name), indent=2)
