"""What a place says of itself when it is asked, outside any run."""

from __future__ import annotations

from typing import NamedTuple


class WorkerReport(NamedTuple):
    """A worker of a place. None and an empty text are not known. `load` is the processor's, in percent of all its
    cores, `memory` in bytes, `latency` the seconds from a question to its answer. `version` is that of the
    cluster's software there; `problem` says why the worker cannot be used."""

    name: str
    threads: int | None = None
    load: float | None = None
    memory: int | None = None
    python: str = ""
    agentdeck: str = ""
    version: str = ""
    latency: float | None = None
    problem: str = ""


class PlaceReport(NamedTuple):
    """The state of a place. `problem` says why it cannot be used; empty where it can."""

    workers: tuple[WorkerReport, ...] = ()
    problem: str = ""
