"""`config`: every setting, and where it comes from."""

from __future__ import annotations

import click

from agentdeck.cli.options import db_option, json_option


@click.command()
@db_option
@click.option("--workers", type=click.IntRange(1, 10_000), metavar="N", help="As it would be with this flag.")
@json_option("One JSON object: by name the value, its origin and place.")
def config(db: str | None, workers: int | None, as_json: bool) -> None:
    """Show each setting and where it comes from: flag, env, project, user or default.

    Settings are `db` and `workers`: as a flag, as AGENTDECK_DB and AGENTDECK_WORKERS, or as a line of
    .agentdeck.toml in the working folder or of config.toml in the user's.

    \b
    Example:
      agentdeck config
    """
    from agentdeck.cli.text_tables import dump, out, table
    from agentdeck.operations.settings import setting

    found = {"db": setting("db", db), "workers": setting("workers", workers)}
    if as_json:
        dump(
            {
                name: {key: getattr(one, key) for key in ("value", "origin", "place")}
                for name, one in found.items()
            }
        )
        return
    rows = [(name, str(one.value), f"{one.origin} {one.place}".rstrip()) for name, one in found.items()]
    for line in table(("setting", "value", "from"), rows):
        out(line)
