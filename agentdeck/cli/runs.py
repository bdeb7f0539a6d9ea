"""`runs`: list runs, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agentdeck.cli import complete
from agentdeck.cli.error_output import hint
from agentdeck.cli.options import db_option, json_option
from agentdeck.cli.text_tables import out, print_document, table
from agentdeck.insight.formatting import moment, seconds
from agentdeck.operations.recorded_run import STATES, marks, open_store

if TYPE_CHECKING:
    from agentdeck.documents.run import Runs
    from agentdeck.store.run_list import RunRow


@click.command()
@db_option
@click.option("--workflow", metavar="NAME", shell_complete=complete.workflows, help="Only of this workflow.")
@click.option("--state", type=click.Choice(STATES), help="Only in this state.")
@click.option("--text", metavar="TEXT", help="Only if the id, workflow, tags or source contain this.")
@click.option("--tag", metavar="TAG", help="Only with this tag.")
@click.option("--since", metavar="WHEN", help="Only those started since: 2h (ago), or a date like 2026-01-31.")
@click.option("--until", metavar="WHEN", help="Only those started before: 2h (ago), or a date.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, metavar="N")
@click.option("--before", metavar="RUN", help="Only runs older than this run: the next page.")
@json_option("Print a JSON list.")
def runs(
    db: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    before: str | None,
    as_json: bool,
    **filters: str | None,
) -> None:
    """List the runs in the store, newest first.

    \b
    Examples:
      agentdeck runs
      agentdeck runs --state failed --since 12h
      agentdeck runs --workflow order --tag nightly --json
    """
    from agentdeck.operations.inputs import moment_from

    first, last = moment_from(since, "--since"), moment_from(until, "--until")
    with open_store(db) as reader:
        key = reader.run(before).key if before else None
        rows: list[RunRow] = reader.runs(limit + 1, before=key, since=first, until=last, **filters)
    more, rows = len(rows) > limit, rows[:limit]
    if as_json:
        print_document(_document(rows))
        return
    if not rows:
        given = any(value is not None for value in (before, since, until, *filters.values()))
        click.echo("no runs" if given else "no runs yet", err=True)
        return
    cells = [
        (
            row.run,
            row.state_text,
            moment(row.started),
            seconds(row.seconds),
            counts(row),
            row.workflow + marks(row),
        )
        for row in rows
    ]
    for line in table(("run", "state", "started", "took", "tasks", "workflow"), cells, right=(3,)):
        out(line)
    if more:
        hint(f"for more: --before {rows[-1].run}")


def counts(row: RunRow) -> str:
    done = f"{row.tasks.done:,}/{row.tasks.total:,}"
    return done + (f" ({row.tasks.failed:,} failed)" if row.tasks.failed else "")


def _document(rows: list[RunRow]) -> Runs:
    from agentdeck.documents.run import Runs
    from agentdeck.operations.results import run_status

    return Runs.model_construct([run_status(row) for row in rows])
