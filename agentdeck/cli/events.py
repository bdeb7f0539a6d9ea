"""`events`: the log of a run, whole and in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agentdeck.cli.options import db_option, json_option, run_argument

if TYPE_CHECKING:
    from agentdeck.workflow.model import Data

SHOWN = ("seq", "at", "event", "run", "task", "step")


@click.command()
@run_argument
@db_option
@json_option("JSON lines, one per event.")
def events(run: str, db: str | None, as_json: bool) -> None:
    """Print the log of a run, in order: everything that happened. RUN is an id, the beginning of one, or
    `last`.

    \b
    Examples:
      agentdeck events last
      agentdeck events last --json > run.jsonl
    """
    from agentdeck.cli.text_tables import dump, out
    from agentdeck.operations.recorded_run import open_store

    with open_store(db) as reader:
        name = reader.run(run).run
        for row in reader.raw_events(name):
            if as_json:
                dump(row)
            else:
                out(line(row))


def line(row: dict[str, Data]) -> str:
    """One event for people."""
    import json

    from agentdeck.cli.text_tables import cut
    from agentdeck.insight.formatting import clock
    from agentdeck.terminal_text import clean

    place = "/".join(str(row[name]) for name in ("task", "step") if row.get(name))
    rest = " ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in row.items()
        if name not in SHOWN
    )
    rest = rest if len(rest) <= 300 else rest[:299] + "…"
    return cut(clean(f"{row['seq']:>6}  {clock(row['at'])}  {row['event']:<15} {place:<16} {rest}").rstrip())
