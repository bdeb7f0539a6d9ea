"""`prune`: old runs go, and the file gets smaller."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentdeck.cli.options import db_option, json_option

if TYPE_CHECKING:
    from agentdeck.store.prune import Old

SHOWN = 10


@click.command()
@click.option("--older", metavar="TIME", help="Runs that ended longer ago than this: 30d, 12h.")
@click.option("--keep", type=click.IntRange(0), metavar="N", help="Never the newest N runs.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@db_option
@json_option("One JSON object: what went, or with --dry-run what would.")
def prune(
    older: str | None, keep: int | None, dry_run: bool, yes: bool, db: str | None, as_json: bool
) -> int | None:
    """Delete old runs with all that belongs to them, and give their space back to the disk.

    A run that a process holds is never touched. One that could still be resumed goes only by --older, counted
    from its last event. Runs that execute meanwhile are not held up.

    \b
    Examples:
      agentdeck prune --older 30d --dry-run
      agentdeck prune --older 30d --keep 100 --yes
    """
    import sqlite3
    import sys
    import time
    from dataclasses import asdict

    from agentdeck.cli.error_output import say
    from agentdeck.cli.text_tables import dump, out
    from agentdeck.errors import UsageError
    from agentdeck.insight.formatting import plural, size
    from agentdeck.operations.settings import database
    from agentdeck.store.prune import old
    from agentdeck.store.prune import prune as delete
    from agentdeck.store.schema import open_for_reading
    from agentdeck.store.sqlite_errors import explain

    if older is None and keep is None:
        raise UsageError("say what may go: --older 30d, --keep 100, or both")
    path, now = database(db), time.time()
    before = None if older is None else now - _duration(older)
    connection = open_for_reading(path)
    if connection is None:
        raise UsageError(f"no runs yet in {path}")
    try:
        found = old(connection, before=before, keep=keep or 0, now=now)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    finally:
        connection.close()
    if dry_run:
        if as_json:
            dump({"runs": [asdict(one) for one in found]})
        else:
            for line in page(found):
                out(line)
        return None
    if found and not yes:
        for line in page(found):
            click.echo(line, err=True)
        if not sys.stdin.isatty():
            raise UsageError("nobody to ask here; say --yes")
        if not click.confirm(f"delete {plural(len(found), 'run')} for good?", err=True):
            return 1
    gone = delete(path, [one.run for one in found], now)
    _forget(found, path)
    if as_json:
        dump(asdict(gone))
    else:
        told = f"{plural(gone.runs, 'run')} deleted, with {plural(gone.events, 'event')}"
        told += f", {plural(gone.logs, 'log line')} and {plural(gone.results, 'result')}"
        out(f"{told}; {size(gone.freed)} freed")
        if gone.left > 1_000_000:
            say(f"{size(gone.left)} in the file are free and will be used again; somebody reads it just now")
    return None


def _forget(found: list[Old], path: Path) -> None:
    """What came through stdin is kept in files while a run can be resumed; those of runs that are gone go too."""
    from agentdeck.errors import UsageError
    from agentdeck.operations.task_files import remove_stdin_copy
    from agentdeck.store.reader import Reader

    reader = Reader(path)
    for one in found:
        if one.tasks:
            try:
                reader.run(one.run)
            except UsageError:
                remove_stdin_copy(one.tasks, path)
    reader.close()


def page(found: list[Old]) -> list[str]:
    """What would go, for people."""
    from agentdeck.cli.text_tables import table
    from agentdeck.insight.formatting import moment, plural

    if not found:
        return ["nothing to delete"]
    states = ", ".join(f"{number:,} {state}" for state, number in Counter(one.state for one in found).items())
    rows = [(one.run, one.state, moment(one.started), f"{one.events:,}", one.workflow) for one in found[:SHOWN]]
    lines = table(("run", "state", "started", "events", "workflow"), rows, right=(3,))
    if len(found) > SHOWN:
        lines.append(f"… and {len(found) - SHOWN:,} more")
    return [*lines, "", f"{plural(len(found), 'run')} ({states}), {sum(one.events for one in found):,} events"]


def _duration(text: str) -> float:
    from agentdeck.errors import UsageError
    from agentdeck.workflow.units import duration

    try:
        return duration(text)
    except ValueError as error:
        raise UsageError(f"--older: {error}") from None
