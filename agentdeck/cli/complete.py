"""Shell completion of arguments: runs of the store, agents of a run, workflows, schemas."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: Newest runs that are offered.
SHOWN = 50


def runs(ctx: click.Context, _: click.Parameter | None, incomplete: str) -> list[CompletionItem]:
    """`last`, then the ids of runs, newest first, each with its workflow and state."""
    from click.shell_completion import CompletionItem

    from agentdeck.operations.recorded_run import open_store

    found = [CompletionItem("last", help="the newest run")]
    with _no_errors(), open_store(ctx.params.get("db")) as reader:
        found += [
            CompletionItem(row.run, help=f"{row.workflow}, {row.state}") for row in reader.runs(limit=SHOWN)
        ]
    return [item for item in found if item.value.startswith(incomplete)]


def agents(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Agents of the run that the arguments name, in the order of their declaration."""
    from click.shell_completion import CompletionItem

    from agentdeck.operations.recorded_run import open_store
    from agentdeck.workflow.model import restored

    found: list[str] = []
    with _no_errors(), open_store(ctx.params.get("db")) as reader:
        row = reader.run(ctx.params.get("run") or "last")
        found = list(restored(reader.definition(row.identity)).agents)
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def workflows(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of workflows that ran recently."""
    from click.shell_completion import CompletionItem

    from agentdeck.operations.recorded_run import open_store

    found: dict[str, None] = {}
    with _no_errors(), open_store(ctx.params.get("db")) as reader:
        found = dict.fromkeys(row.workflow for row in reader.runs(limit=SHOWN))
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def schemas(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names that `schema` takes."""
    from click.shell_completion import CompletionItem

    from agentdeck.documents.registry import NAMES

    return [CompletionItem(name) for name in NAMES if name.startswith(incomplete)]


@contextlib.contextmanager
def _no_errors() -> Iterator[None]:
    """Suppress errors of the store: completion must not print into the line that is being typed."""
    from agentdeck.errors import AgentdeckError

    with contextlib.suppress(AgentdeckError, OSError):
        yield
