"""Metrics of the runs in a store, for Prometheus: of one run, or of all that execute."""

from __future__ import annotations

import time
from collections import OrderedDict

from agentdeck import __version__
from agentdeck.engine.resume import definition_of
from agentdeck.operations.recorded_run import LIVE
from agentdeck.store.log_follower import LogFollower
from agentdeck.store.reader import PAGE, Reader
from agentdeck.store.run_list import RunRow
from agentdeck.telemetry.prometheus import Metric, Values, text
from agentdeck.telemetry.run_metrics import RunMetrics, Totals, gauges

#: Runs that were followed to their end, whose last event is remembered: a retry adds to it.
REMEMBERED = 10_000
#: Seconds by which a run may begin before its row is in the store.
OVERLAP = 60.0
#: Runs that are looked for at once.
MOST = 1000


class _Followed:
    """A run with how far its log was read."""

    def __init__(self, metrics: RunMetrics) -> None:
        self.metrics = metrics
        self.log = LogFollower(metrics.run)

    def read(self, reader: Reader, until: float) -> bool:
        """Read what is there, until that time. Returns whether all of it was read."""
        while time.monotonic() < until:
            batch = self.log.read_events(reader, PAGE)
            for seq, event in batch.numbered():
                self.metrics.apply(seq, event)
            if len(batch.events) < PAGE:
                return True
        return False


class StoreMetrics:
    """Follows runs from their first event on: the given one, else those that execute and those that start later.
    A run that is over is forgotten; what it added to the totals stays. Used by one thread at a time."""

    def __init__(self, reader: Reader, run: str | None = None) -> None:
        """Raises UsageError where there is no such run."""
        self._reader = reader
        self._only = reader.run(run).run if run is not None else None
        self._since = time.time()
        self._version = -2
        self._totals = Totals()
        self._runs: dict[str, _Followed] = {}
        self._counted: OrderedDict[str, int] = OrderedDict()

    def refresh(self, seconds: float = 3600.0) -> None:
        """Read what was committed since the last time, for at most so long. Costs next to nothing where nothing
        was."""
        version = self._reader.version()
        if version == self._version:
            return
        until, complete, looked = time.monotonic() + seconds, True, time.time()
        rows = self._rows()
        self._since = looked - OVERLAP
        for row in rows:
            if row.run not in self._counted or row.state in LIVE:
                self._follow(row)
        live = {row.run for row in rows if row.state in LIVE}
        for run, followed in list(self._runs.items()):
            done = followed.read(self._reader, until)
            complete &= done
            if done and run not in live and run != self._only:
                self._forget(run, followed)
        if complete:
            self._version = version

    def text(self) -> str:
        """The metrics as of the last refresh."""
        now = time.time()
        runs = [
            (one.metrics, max(0, self._reader.last_seq(run) - one.log.event)) for run, one in self._runs.items()
        ]
        return text([_build(), *gauges(runs, self._reader, now), *self._totals.metrics(), _cpu()])

    def _rows(self) -> list[RunRow]:
        if self._only is not None:
            return [self._reader.run(self._only)]
        found = [row for state in LIVE for row in self._reader.runs(MOST, state=state)]
        known = {row.run for row in found}
        return found + [row for row in self._reader.runs(MOST, since=self._since) if row.run not in known]

    def _follow(self, row: RunRow) -> None:
        if row.run not in self._runs:
            counted = self._counted.pop(row.run, 0)
            definition = definition_of(self._reader, row)
            self._runs[row.run] = _Followed(RunMetrics(row.run, definition, self._totals, counted))

    def _forget(self, run: str, followed: _Followed) -> None:
        del self._runs[run]
        self._counted[run] = followed.log.event
        if len(self._counted) > REMEMBERED:
            self._counted.popitem(last=False)


def _build() -> Metric:
    build = Values("gauge", "agentdeck_build_info", "The version of agentdeck.", "version")
    build.set(1, __version__)
    return build


def _cpu() -> Metric:
    cpu = Values("counter", "process_cpu_seconds_total", "Processor time that this process has used.")
    cpu.add(time.process_time())
    return cpu
