"""Shell completion of arguments: runs of the store, agents of a run, workflows, places, schemas."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from agentdeck.store.reader import Reader

#: Newest runs that are offered.
SHOWN = 50


def runs(ctx: click.Context, _: click.Parameter | None, incomplete: str) -> list[CompletionItem]:
    """`last`, then the ids of runs, newest first, each with its workflow and state."""
    newest = _read(
        ctx, lambda reader: {row.run: f"{row.workflow}, {row.state}" for row in reader.runs(limit=SHOWN)}
    )
    return _items({"last": "the newest run", **newest}, incomplete)


def agents(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Agents of the run that the arguments name, in the order of their declaration."""
    from agentdeck.workflow.model import restored

    def of_run(reader: Reader) -> dict[str, None]:
        row = reader.run(ctx.params.get("run") or "last")
        return dict.fromkeys(restored(reader.definition(row.identity)).agents)

    return _items(_read(ctx, of_run), incomplete)


def workflows(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of workflows that ran recently."""
    recent = _read(ctx, lambda reader: dict.fromkeys(row.workflow for row in reader.runs(limit=SHOWN)))
    return _items(recent, incomplete)


def schemas(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names that `schema` takes."""
    from agentdeck.documents.registry import NAMES

    return _items(dict.fromkeys(NAMES), incomplete)


def places(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The places of the deck, with their types."""
    from pathlib import Path

    from agentdeck.errors import AgentdeckError
    from agentdeck.workflow.deck import LOCAL, deck_for

    found = {}
    with contextlib.suppress(AgentdeckError, OSError):
        found = {place.name: place.type for place in deck_for(ctx.params.get("folder") or Path()).places.values()}
    return _items({**found, LOCAL: "the engine's own process"}, incomplete)


def _items(found: Mapping[str, str | None], incomplete: str) -> list[CompletionItem]:
    """The names that begin as typed, each with its help."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(name, help=text) for name, text in found.items() if name.startswith(incomplete)]


def _read(ctx: click.Context, query: Callable[[Reader], Mapping[str, str | None]]) -> Mapping[str, str | None]:
    """What a query finds in the store. Errors are suppressed: completion must not print into the line that is
    being typed."""
    from agentdeck.errors import AgentdeckError
    from agentdeck.operations.recorded_run import open_store

    with contextlib.suppress(AgentdeckError, OSError), open_store(ctx.params.get("db")) as reader:
        return query(reader)
    return {}
