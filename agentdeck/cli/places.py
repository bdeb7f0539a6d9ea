"""`places`: whether the places of the deck can be used, and their workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from sys import stderr
from typing import TYPE_CHECKING

import click

from agentdeck.cli import complete
from agentdeck.cli.options import json_option
from agentdeck.insight.formatting import plural, seconds, size

if TYPE_CHECKING:
    from agentdeck.operations.places import PlaceState
    from agentdeck.places.report import WorkerReport

#: The columns of workers. The version is that of the cluster's software.
COLUMNS = ("worker", "threads", "load", "memory", "python", "agentdeck", "version", "latency")
RIGHT = ("threads", "load", "memory", "latency")


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME…]", shell_complete=complete.places)
@click.option(
    "--folder",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="The folder of the workflows, whose deck is meant. Default: the working folder.",
)
@json_option("Print one JSON object: every place with its workers, and why it cannot be used.")
def places(names: tuple[str, ...], folder: Path, as_json: bool) -> int:
    """Check the places of the deck, and list their workers: threads, load of the processor, memory, versions, and
    how long a question takes to be answered. A cluster of this machine is started for it, and stopped.

    \b
    Examples:
      agentdeck places
      agentdeck places big --json

    Exit codes: 0 all places can be used, 2 usage or an invalid deck, 3 some place cannot be used.
    """
    import asyncio

    from agentdeck.cli.text_tables import out, print_document
    from agentdeck.operations.places import place_states
    from agentdeck.workflow.deck import deck_for

    with redirect_stdout(stderr):  # stdout is for data: what a plugin prints is none
        deck = deck_for(folder.resolve())
        states = asyncio.run(place_states(deck, names))
    ok = not any(state.problems for state in states)
    if as_json:
        from agentdeck.documents import command as documents

        rows = [
            documents.PlaceState.of(
                state.config,
                ok=not state.problems,
                problem="; ".join(state.problems),
                workers=[documents.WorkerState.of(one) for one in state.report.workers],
            )
            for state in states
        ]
        file = None if deck.file is None else str(deck.file)
        print_document(documents.PlaceStates.model_construct(ok=ok, deck=file, places=rows))
    else:
        for number, state in enumerate(states):
            for line in ([""] if number else []) + list(_page(state)):
                out(line)
    return 0 if ok else 3


def _page(state: PlaceState) -> Iterator[str]:
    from agentdeck.terminal_text import clean

    config, workers = state.config, state.report.workers
    about = [config.type] if config.type != config.name else []
    about += [plural(config.slots, "slot")] if config.slots is not None else []
    about += [plural(len(workers), "worker")] if len(workers) > 1 else []
    yield clean(f"{config.name}: {', '.join(about)}" if about else config.name)
    yield from _table(workers)
    for problem in state.problems:
        yield clean(f"  cannot be used: {problem}")


def _table(workers: Sequence[WorkerReport]) -> Iterator[str]:
    """The workers, without the columns of which nothing is known."""
    from agentdeck.cli.text_tables import table

    rows = [_cells(worker) for worker in workers]
    shown = [at for at in range(len(COLUMNS)) if any(row[at] for row in rows)]
    right = [at for at, column in enumerate(shown) if COLUMNS[column] in RIGHT]
    if shown:
        header = [COLUMNS[at] for at in shown]
        for line in table(header, [[row[at] or "-" for at in shown] for row in rows], right):
            yield f"  {line}"


def _cells(worker: WorkerReport) -> tuple[str, ...]:
    return (
        worker.name,
        "" if worker.threads is None else f"{worker.threads:,}",
        "" if worker.load is None else f"{worker.load:.0f} %",
        "" if worker.memory is None else size(worker.memory),
        worker.python,
        worker.agentdeck,
        worker.version,
        "" if worker.latency is None else seconds(worker.latency),
    )
