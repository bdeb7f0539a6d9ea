"""Recorded events on their way from the scheduler to the log."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from agentdeck.engine.observer_feed import ObserverFeed
from agentdeck.errors import StoreError
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.store.log import Log, TableWrite
from agentdeck.store.view_snapshots import save_snapshot
from agentdeck.views.run_view import RunView
from agentdeck.views.view_snapshot import snapshot_of
from agentdeck.workflow.json_text import estimated_size

#: Events between two snapshots of the view: folding so many takes a third of a second.
SNAPSHOT_EVERY = 50_000
#: Shorter logs are folded faster than a snapshot is worth writing.
SNAPSHOT_FROM = 5_000
#: Failed steps that the view remembers above which a snapshot would block the event loop for too long.
SNAPSHOT_MOST = 5_000
#: The same for the bytes of the last output.
SNAPSHOT_OUTPUT = 64_000

#: Events that may be committed late, unless a step waits for them: with the next other event, or after DELAY
#: seconds.
DELAYED = frozenset({
    ev.StepStarted, ev.AttemptPlaced, ev.StepSucceeded, ev.TaskOpened, ev.TaskEnded,
    ev.InnerStarted, ev.InnerEnded,
})  # fmt: skip
DELAY = 0.01
#: Events for which nothing is handed over though steps wait for a commit: it does not help these steps, and an
#: attempt may have thousands of inner steps.
QUIET = frozenset({ev.StepStarted, ev.AttemptPlaced, ev.InnerStarted, ev.InnerEnded})


class EventBuffer:
    """Collects events, hands them to the log and the observers together, then folds them into the run's view.
    Events that no step depends on are committed with later ones, as a commit of their own would delay the next
    result. Starts alone are never handed over, what happens inside attempts alone after DELAY.

    No step waits for the view: it is folded while the disk writes. Reading `view` folds what is missing."""

    def __init__(
        self, scheduler: Scheduler, log: Log, observers: ObserverFeed, view: RunView, *, snapshots: bool
    ) -> None:
        """With `snapshots`, those of the view are written beside the events."""
        self._scheduler = scheduler
        self._log = log
        self._view = view
        self._last = scheduler.state.seq  # the number of the last event added
        self._snapshots = snapshots
        self._next_snapshot = scheduler.state.seq + SNAPSHOT_EVERY
        self._observers = observers
        self._events: list[ev.Event] = []
        self._also: list[TableWrite] = []
        self._timer: asyncio.TimerHandle | None = None
        self._only_quiet = True
        self._inner = False
        self._urgent = False

    def add(self, event: ev.Event) -> None:
        self._events.append(event)
        self._last += 1
        kind = type(event)
        if kind not in QUIET:
            self._only_quiet = False
            if kind not in DELAYED:
                self._urgent = True
        elif kind is not ev.StepStarted:
            self._inner = True

    @property
    def view(self) -> RunView:
        """The run's view after every event that was added."""
        self._fold(self._events)
        return self._view

    def _fold(self, events: list[ev.Event]) -> None:
        """Apply the newest events, as far as the view does not have them."""
        view, last = self._view, self._last
        apply, seq = view.apply, view.seq
        for event in events[len(events) - (last - seq) :] if seq < last else ():
            seq += 1
            apply(seq, event)

    def add_write(self, also: TableWrite) -> None:
        """Run this in the transaction of the events collected so far."""
        self._also.append(also)

    def flush_if_due(self) -> None:
        """Hand the events over, where those added since the last call may not be delayed; else not later than
        DELAY from now. Raises StoreError."""
        only_quiet, inner, urgent = self._only_quiet, self._inner, self._urgent
        self._only_quiet, self._inner, self._urgent = True, False, False
        if only_quiet and not inner:
            return
        if not only_quiet:
            waited = self._events[-1].at > self._events[0].at + DELAY
            if urgent or self._also or self._scheduler.uncommitted or waited:
                self.hand_over()
                return
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY, self.flush)

    def hand_over(self) -> None:
        """Hand everything over now. Raises StoreError."""
        if not self._events:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        events, self._events = self._events, []
        also, self._also = self._also, []
        last = self._last
        if self._snapshots and (last >= self._next_snapshot or type(events[-1]) is ev.RunEnded):
            self._fold(events)
            self._add_snapshot(also, last, at_end=type(events[-1]) is ev.RunEnded)
        first = last - len(events) + 1
        self._observers.hand_over(first, events)  # before the log, which may have committed them at once
        try:
            self._log.append(self._scheduler.state.run, first, events, also)
        finally:
            self._fold(events)

    def _add_snapshot(self, also: list[TableWrite], seq: int, *, at_end: bool) -> None:
        """Write a snapshot in the transaction of the last event that it has: both are on disk, or neither."""
        self._next_snapshot = seq + SNAPSHOT_EVERY
        view = self._view
        large = (view.kept_steps > SNAPSHOT_MOST and not at_end) or estimated_size(view.output) > SNAPSHOT_OUTPUT
        if seq >= SNAPSHOT_FROM and view.seq == seq and not large:
            also.append(partial(save_snapshot, run=view.run, seq=seq, snapshot=snapshot_of(view)))

    def flush(self) -> None:
        """Hand everything over now. An error of the store is not raised: the log reports it, and the run
        stops."""
        with suppress(StoreError):
            self.hand_over()
