"""The verbs about the installation: `info`, `config`, `schema`, `completion`."""

from __future__ import annotations

from pathlib import Path

import click

from agentdeck.cli import complete
from agentdeck.cli.options import db_option, json_option
from agentdeck.cli.text_tables import dump, out, print_document, table
from agentdeck.operations.settings import database, setting, user_file


@click.command()
@db_option
@json_option("Print one JSON object.")
def info(db: str | None, as_json: bool) -> None:
    """Show versions and the paths of the store, the configuration and the deck.

    \b
    Example:
      agentdeck info
    """
    import platform
    import sqlite3

    from agentdeck import __version__
    from agentdeck.documents.command import Info
    from agentdeck.scheduler import scheduler
    from agentdeck.workflow.deck import find_deck

    path, deck = database(db), find_deck(Path.cwd())
    facts = Info.model_construct(
        agentdeck=__version__,
        core="interpreted" if scheduler.__file__.endswith(".py") else "compiled",
        python=platform.python_version(),
        system=platform.platform(),
        sqlite=sqlite3.sqlite_version,
        db=str(path),
        db_bytes=path.stat().st_size if path.exists() else None,
        config=str(user_file()),
        deck=None if deck is None else str(deck),
    )
    if as_json:
        print_document(facts)
        return
    for name, value in facts:
        absent = "none; prompts are simulated" if name == "deck" else "none yet"
        out(f"{name.replace('_', ' '):<10} {absent if value is None else value}")


@click.command()
@db_option
@click.option(
    "--workers",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Show the settings as they would be with this option.",
)
@json_option("Print one JSON object: name, value, origin and place of each setting.")
def config(db: str | None, workers: int | None, as_json: bool) -> None:
    """Show each setting and where it comes from: flag, env, project, user or default.

    The settings are `db` and `workers`: an option, AGENTDECK_DB and AGENTDECK_WORKERS, or a line of
    .agentdeck.toml in the working folder or of config.toml in the user's configuration folder.

    \b
    Example:
      agentdeck config
    """
    found = {"db": setting("db", db), "workers": setting("workers", workers)}
    if as_json:
        from agentdeck.documents.command import Config, Setting

        print_document(Config.model_construct(db=Setting.of(found["db"]), workers=Setting.of(found["workers"])))
        return
    rows = [(name, str(one.value), f"{one.origin} {one.place}".rstrip()) for name, one in found.items()]
    for line in table(("setting", "value", "from"), rows):
        out(line)


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
    from agentdeck.documents.registry import schema as schema_of

    dump(schema_of(name), indent=2)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script: verbs, options, files, runs and agents.

    \b
    Examples:
      eval "$(agentdeck completion bash)"      in ~/.bashrc
      eval "$(agentdeck completion zsh)"       in ~/.zshrc, after compinit
      agentdeck completion fish > ~/.config/fish/completions/agentdeck.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    whole = click.get_current_context().find_root().command
    script = made(whole, {}, "agentdeck", "_AGENTDECK_COMPLETE")
    # Not script.source(): for bash that starts a shell to ask for its version.
    click.echo(script.source_template % script.source_vars())
