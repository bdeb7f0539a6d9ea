"""Observers: what follows a run without being part of it, such as narration, `--out` and telemetry.

An observer receives the events of a run in batches, in order and each once, when they are committed: on disk
where the run has a store. It is called in a thread of its own, so it may block, sleep or write to a network: it
delays neither a step nor another observer. `engine/observer_feed.py` passes the events on.

Other packages add observers through the entry point group `agentdeck.observers`; docs/plugins.md has an example.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from agentdeck import plugins
from agentdeck.store.log_follower import EventBatch
from agentdeck.workflow.model import Definition
from agentdeck.workflow.wording import article

__all__ = ["EventBatch", "Observer", "ObserverContext", "ObserverFactory", "Warn", "factories"]

#: Receives a text for the operator, from any thread.
Warn: TypeAlias = Callable[[str], None]


class Observer(Protocol):
    """Receives the committed events of one run. All methods are called in one thread, which belongs to this
    observer and runs no agents."""

    def observe(self, batch: EventBatch) -> None:
        """Take the next events. The batch after it is passed on when this returns; what has come meanwhile is one
        batch then. An observer that raises is reported, closed, and left out of the rest of the run."""
        ...

    def close(self) -> None:
        """Called once, after the last batch of this process: the run has ended, drained or failed. It may be
        resumed later, in another process."""
        ...


@dataclass(frozen=True, slots=True)
class ObserverContext:
    """The run that an observer is made for. `db` is its store, None where it has none. `first` is the sequence
    number of the first event that the observer will receive: 1 for a new run, a later one where a run is resumed.

    Of a process that was killed, the observer may not have received the last events. One that needs every event
    remembers the last number that it has dealt with, and reads those between it and `first` with
    `agentdeck.store.reader.Reader(db).events(run, after)`."""

    run: str
    definition: Definition
    db: Path | None
    first: int


#: What an entry point names. It returns None where it is not configured or not interested in this run. It is
#: called for every run that a process launches or resumes, in the observer's thread.
ObserverFactory: TypeAlias = Callable[[ObserverContext], Observer | None]

_reported: set[str] = set()


def factories(warn: Warn) -> Mapping[str, ObserverFactory]:
    """The factories of the installed observers, by name. Those that do not load are reported once."""
    found = loaded()
    for one in found.broken:
        name = f"observer {one.plugin.name} of package {one.plugin.package}"
        if name not in _reported:
            _reported.add(name)
            warn(f"{name} does not load and is left out: {one.why}")
    return found.objects


@cache
def loaded() -> plugins.Loaded:
    """The observers of plugins, imported once per process."""
    return plugins.load("observers", _factory)


def _factory(name: str, found: Any) -> ObserverFactory:
    if not callable(found):
        raise plugins.PluginError(
            f"it names {article(type(found).__name__)}, not a function that returns an observer"
        )
    factory: ObserverFactory = found
    return factory


def warn_in_log(text: str) -> None:
    """Report to the program that embeds the run; on stderr where it has configured no logging."""
    logging.getLogger("agentdeck").warning(text)
