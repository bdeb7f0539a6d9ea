"""What a kind of cluster has to know: its workers, and how bytes reach a host on one of them.

A `Cluster` lives in the connector, a process that the engine starts for each place, so that no client of a
cluster shares the engine's memory, loop and terminal. Its hosts (`agentdeck.places.host.Host`) execute the
calls. What they and the engine tell each other is opaque to the cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class ClusterError(Exception):
    """The cluster cannot be used, or is out of reach. Its text is for people: what happened, and where."""


class HostGone(Exception):
    """A worker is gone, with all calls on it. Its text says how that is known, without the worker's name."""


class WorkerFacts(NamedTuple):
    """A worker, as the cluster describes it now. `name` is what people know it by, and unique. `load` is the
    processor's in percent of all its cores, `memory` in bytes. `calls` is how many calls it takes at once; None:
    as many as the place has slots."""

    name: str
    address: str
    threads: int
    version: str = ""  # of dask or ray there
    load: float | None = None
    memory: int | None = None
    calls: int | None = None


class Cluster(ABC):
    """A connection to one cluster. `options` are those of the place in the deck, `slots` its slots (None: not
    limited), and `folder` is that of the deck, for relative paths."""

    def __init__(self, options: Mapping[str, Any], slots: int | None, folder: Path) -> None:
        self.options = options
        self.slots = slots
        self.folder = folder

    @abstractmethod
    async def connect(self) -> None:
        """Reach the cluster. Raises ClusterError: nothing answers, wrong keys, versions that do not fit."""

    @abstractmethod
    async def workers(self) -> list[WorkerFacts]:
        """Its workers; asked about once a second. Raises ClusterError when it is out of reach."""

    @abstractmethod
    async def probe(self, worker: str, source: str) -> str:
        """The value of a Python expression there, a string. Works without agentdeck on the worker. Raises
        HostGone, or ClusterError for an expression that raises."""

    @abstractmethod
    async def open(self, worker: str, name: str) -> HostLink:
        """Make the host of this name on a worker; one of the same name that is there is closed before. Raises
        HostGone, or ClusterError where it cannot be made."""

    @abstractmethod
    async def close(self) -> None:
        """Leave the cluster. Closing twice is no error."""


class HostLink(ABC):
    """The connection to one host."""

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Pass bytes to the host's `send`, in the order of the calls. Raises HostGone."""

    @abstractmethod
    async def receive(self) -> bytes:
        """What the host has to say since the last time: waits for it, as the host's `receive` does; may be empty.
        Raises HostGone when the worker is gone, and ClusterError when the cluster is out of reach."""

    @abstractmethod
    async def close(self) -> None:
        """Close the host, and let go of it. Closing one that is gone is no error."""
