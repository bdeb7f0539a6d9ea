"""`runs`: what ran, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agentdeck.cli.options import db_option, json_option

if TYPE_CHECKING:
    from agentdeck.store.reader import RunRow
    from agentdeck.workflow.model import Data

STATES = ("running", "paused", "interrupted", "done", "failed", "cancelled")


@click.command()
@db_option
@click.option("--workflow", metavar="NAME", help="Of this workflow only.")
@click.option("--state", type=click.Choice(STATES), help="In this state only.")
@click.option("--text", metavar="TEXT", help="Where the id, workflow, tags or source hold this.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, metavar="N")
@json_option("A JSON list of objects.")
def runs(
    db: str | None, workflow: str | None, state: str | None, text: str | None, limit: int, as_json: bool
) -> None:
    """List runs, newest first."""
    from agentdeck.cli.options import store
    from agentdeck.cli.pages import dump, out, table
    from agentdeck.insight.numbers import moment, seconds

    with store(db) as reader:
        rows: list[RunRow] = reader.runs(limit, workflow=workflow, state=state, text=text)
    if as_json:
        dump([render(row) for row in rows])
        return
    if not rows:
        click.echo("no runs" if workflow or state or text else "no runs yet", err=True)
        return
    cells = [
        (row.run, row.state, moment(row.started), seconds(lasted(row)), counts(row), row.workflow + marks(row))
        for row in rows
    ]
    for line in table(("run", "state", "started", "took", "tasks", "workflow"), cells, right=(3,)):
        out(line)


def lasted(row: RunRow) -> float | None:
    """Seconds so far, or in all."""
    import time

    if row.state in ("running", "paused"):
        return time.time() - row.started
    return row.seconds


def counts(row: RunRow) -> str:
    done = f"{row.tasks.done:,}/{row.tasks.total:,}"
    return done + (f" ({row.tasks.failed:,} failed)" if row.tasks.failed else "")


def marks(row: RunRow) -> str:
    return " · simulated" if row.simulated else ""


def render(row: RunRow) -> dict[str, Data]:
    return {
        "run": row.run,
        "workflow": row.workflow,
        "state": row.state,
        "started": row.started,
        "seconds": lasted(row),
        "simulated": row.simulated,
        "tags": list(row.tags),
        "tasks": {
            "total": row.tasks.total,
            "done": row.tasks.done,
            "failed": row.tasks.failed,
            "cancelled": row.tasks.cancelled,
        },
    }
