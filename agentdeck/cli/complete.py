"""What a shell offers for an argument: runs of the store, agents of a run. Silent where there is nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: Runs that are offered at most: the newest.
SHOWN = 50


def runs(ctx: click.Context, _: click.Parameter | None, incomplete: str) -> list[CompletionItem]:
    """Ids, newest first, each with what it is; `last` before all."""
    from click.shell_completion import CompletionItem

    from agentdeck.operations.recorded_run import open_store

    found = [CompletionItem("last", help="the newest run")]
    with _quietly(), open_store(ctx.params.get("db")) as reader:
        found += [
            CompletionItem(row.run, help=f"{row.workflow}, {row.state}") for row in reader.runs(limit=SHOWN)
        ]
    return [item for item in found if item.value.startswith(incomplete)]


def agents(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Agents of the run that is named before, in order of declaration."""
    from click.shell_completion import CompletionItem

    from agentdeck.operations.recorded_run import open_store
    from agentdeck.workflow.model import restored

    found: list[str] = []
    with _quietly(), open_store(ctx.params.get("db")) as reader:
        row = reader.run(ctx.params.get("run") or "last")
        found = list(restored(reader.definition(row.identity)).agents)
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def workflows(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of workflows that ran lately."""
    from click.shell_completion import CompletionItem

    from agentdeck.operations.recorded_run import open_store

    found: dict[str, None] = {}
    with _quietly(), open_store(ctx.params.get("db")) as reader:
        found = dict.fromkeys(row.workflow for row in reader.runs(limit=SHOWN))
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def schemas(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names that `schema` takes."""
    from click.shell_completion import CompletionItem

    from agentdeck.documents.registry import NAMES

    return [CompletionItem(name) for name in NAMES if name.startswith(incomplete)]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """A key pressed in a shell never prints an error: no store, a broken one, a run that is not there."""
    from agentdeck.errors import AgentdeckError

    with contextlib.suppress(AgentdeckError, OSError):
        yield
