"""The verbs that keep the store small and safe: `backup`, `prune`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentdeck.cli.error_output import say
from agentdeck.cli.options import db_option, json_option
from agentdeck.cli.text_tables import out, print_document, table
from agentdeck.errors import UsageError
from agentdeck.insight.formatting import moment, plural, size
from agentdeck.operations.settings import database

if TYPE_CHECKING:
    from agentdeck.store.prune import PrunableRun

#: Runs that a list names.
SHOWN = 10
#: Bytes of free space in the file above which `prune` says why they are still there.
LARGE = 1_000_000


@click.command()
@click.argument("file", metavar="FILE", type=click.Path())
@db_option
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def backup(file: str, db: str | None, force: bool) -> None:
    """Copy the current store into FILE and check the copy. Runs continue meanwhile. To use the copy: --db FILE.

    What agents of frameworks have kept beside the store is copied beside FILE, into FILE-checkpoints.

    \b
    Example:
      agentdeck backup monday.db
    """
    from agentdeck.agents import checkpoints
    from agentdeck.store.backup import backup as copy

    store, to = database(db), Path(file)
    copied = copy(store, to, force=force, beside={checkpoints.beside(store): checkpoints.beside(to)})
    say(f"{file}: {size(copied)}, checked")


@click.command()
@click.option("--older", metavar="TIME", help="Delete runs that ended longer ago than this: 30d, 12h.")
@click.option("--keep", type=click.IntRange(0), metavar="N", help="Keep the newest N runs.")
@click.option("--dry-run", is_flag=True, help="Only print what would be deleted.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@db_option
@json_option("Print one JSON object: what was deleted, or would be with --dry-run.")
def prune(
    older: str | None, keep: int | None, dry_run: bool, yes: bool, db: str | None, as_json: bool
) -> int | None:
    """Delete old runs with all that belongs to them, and free their disk space.

    A run that a process executes is never deleted. One that could still be resumed is deleted only with --older,
    counted from its last event. Executing runs are not delayed.

    \b
    Examples:
      agentdeck prune --older 30d --dry-run
      agentdeck prune --older 30d --keep 100 --yes
    """
    import sys

    from agentdeck.documents import command as documents
    from agentdeck.operations.prune import delete, prunable

    path = database(db)
    found = prunable(path, older, keep)
    if dry_run:
        if as_json:
            rows = [documents.PrunableRun.of(one) for one in found]
            print_document(documents.PrunePreview.model_construct(runs=rows))
        else:
            for line in _page(found):
                out(line)
        return None
    if found and not yes:
        for line in _page(found):
            click.echo(line, err=True)
        if not sys.stdin.isatty():
            raise UsageError("no terminal to ask on; add --yes to delete")
        if not click.confirm(f"delete {plural(len(found), 'run')}? This cannot be undone.", err=True):
            return 1
    pruned = delete(path, found)
    if as_json:
        print_document(documents.Pruned.of(pruned))
        return None
    counts = f"{plural(pruned.events, 'event')}, {plural(pruned.logs, 'log line')} and"
    counts += f" {plural(pruned.results, 'result')}"
    out(f"{plural(pruned.runs, 'run')} deleted, with {counts}; {size(pruned.freed)} freed")
    if pruned.left > LARGE:
        say(
            f"{size(pruned.left)} of the file are free for reuse, but not returned to the disk, as another "
            "process is reading the store"
        )
    return None


def _page(found: list[PrunableRun]) -> list[str]:
    """The runs that would be deleted, as a table."""
    if not found:
        return ["nothing to delete"]
    states = ", ".join(f"{number:,} {state}" for state, number in Counter(one.state for one in found).items())
    rows = [(one.run, one.state, moment(one.started), f"{one.events:,}", one.workflow) for one in found[:SHOWN]]
    lines = table(("run", "state", "started", "events", "workflow"), rows, right=(3,))
    if len(found) > SHOWN:
        lines.append(f"… and {len(found) - SHOWN:,} more")
    return [*lines, "", f"{plural(len(found), 'run')} ({states}), {sum(one.events for one in found):,} events"]
