"""Passes the events of a run to its observers, each in a thread of its own.

The event loop adds what it hands over to the log, once per hand-over; the log's thread reports what is committed.
Neither ever waits for an observer. What an observer has not taken yet waits in its queue. When more than BOUND
events wait, the queue is emptied and the observer reads the store instead, page by page, until it has caught up:
memory stays bounded however slow it is. Without a store the oldest events are dropped, and counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from itertools import chain

from agentdeck.engine.observers import Observer, ObserverContext, ObserverFactory, Warn
from agentdeck.errors import AgentdeckError
from agentdeck.scheduler.events import Event
from agentdeck.store.log_follower import EventBatch, LogFollower
from agentdeck.store.reader import PAGE, Reader

#: Events that wait for one observer at most.
BOUND = 20_000
#: Seconds between two batches of an observer: each wakes its thread, which takes time from the event loop.
PAUSE = 0.01
#: Seconds that the observers of plugins have together, after the end of the run, for what they have not taken.
PATIENCE = 10.0


class ObserverFeed:
    """The observers of one run in this process. `add` them before the first event."""

    def __init__(self, context: ObserverContext, warn: Warn) -> None:
        self._context = context
        self._warn = warn
        self._uncommitted: deque[EventBatch] = deque()
        self._own: list[Subscription] = []
        self._plugins: list[Subscription] = []

    def add(self, observer: Observer) -> None:
        """Add an observer that the end of the run waits for."""
        name = getattr(observer, "title", type(observer).__name__)
        self._own.append(Subscription(name, lambda context: observer, self._context, self._warn))

    def add_plugin(self, name: str, factory: ObserverFactory) -> None:
        """Add the observer that a plugin makes. The end of the run waits for it for PATIENCE."""
        self._plugins.append(Subscription(name, factory, self._context, self._warn))

    def hand_over(self, first: int, events: Sequence[Event]) -> None:
        """On the event loop: these events are being handed over to the log."""
        if not self._own and not self._plugins:
            return
        batch = EventBatch(self._context.run, first, events)
        if self._context.db is None:
            self._publish(batch)
        else:
            self._uncommitted.append(batch)

    def committed(self, seq: int) -> None:
        """In the log's thread: all events up to this one are on disk."""
        waiting = self._uncommitted
        while waiting and waiting[0].last <= seq:
            self._publish(waiting.popleft())

    def _publish(self, batch: EventBatch) -> None:
        for one in chain(self._own, self._plugins):
            one.publish(batch)

    def close(self) -> None:
        """Give each observer the rest and close it. Call it in a thread, when nothing more will be committed."""
        for one in chain(self._own, self._plugins):
            one.end()
        for one in self._own:
            if not one.join(PATIENCE):
                self._warn(
                    f"{self._context.run} is over and waits for {one.name}: in {PATIENCE:g} s it has not taken"
                    f" the last {one.untaken:,} events"
                )
                one.join(None)
        until = time.monotonic() + PATIENCE
        for one in self._plugins:
            if not one.join(max(0.0, until - time.monotonic())):
                self._warn(
                    f"observer {one.name} was still busy {PATIENCE:g} s after the end of the run:"
                    f" it has not taken {one.abandon():,} events"
                )

    def stop_waiting(self) -> None:
        """Return from `close` now. Observers that are not done go on as long as the process lives."""
        for one in chain(self._own, self._plugins):
            one.stop_waiting()


class Subscription:
    """One observer with its queue and its thread.

    Invariant: the observer receives the events after `_taken` in order, each once. `_behind`: the queue is empty,
    and the events after `_taken` are read from the store. `waiting` is the number of events in the queue, at most
    BOUND.
    """

    def __init__(self, name: str, factory: ObserverFactory, context: ObserverContext, warn: Warn) -> None:
        self.name = name
        self._factory = factory
        self._context = context
        self._warn = warn
        self._changed = threading.Condition()
        self._queue: deque[EventBatch] = deque()
        self.waiting = 0
        self._published = self._taken = context.first - 1
        self._behind = False
        self._left_out = False
        self._ending = threading.Event()
        self._closed = False
        self._awaited = threading.Event()  # `join` need not wait any longer
        # A daemon: an observer that blocks for ever must not keep the process from exiting.
        self._thread = threading.Thread(target=self._work, name=f"agentdeck-observer-{name}", daemon=True)
        self._thread.start()

    # From other threads -----------------------------------------------------------------------------------

    def publish(self, batch: EventBatch) -> None:
        """Add committed events. Never waits for the observer."""
        with self._changed:
            self._published = batch.last
            if self._left_out or self._behind:
                return
            self._queue.append(batch)
            self.waiting += len(batch.events)
            if self.waiting > BOUND:
                self._shrink()
            self._changed.notify()

    def end(self) -> None:
        """No more events will be published."""
        with self._changed:
            self._ending.set()
            self._changed.notify()

    def join(self, timeout: float | None) -> bool:
        """Wait until the observer has taken everything and is closed. Returns whether it is."""
        self._awaited.wait(timeout)
        return self._closed

    def stop_waiting(self) -> None:
        """Let `join` return now."""
        self._awaited.set()

    @property
    def untaken(self) -> int:
        """How many events it has not taken."""
        return self._published - self._taken

    def abandon(self) -> int:
        """Leave the observer out from now on. Returns how many events it has not taken."""
        with self._changed:
            self._leave_out()
            return self.untaken

    def _shrink(self) -> None:
        """Too many events wait: read them from the store later, or drop the oldest."""
        if self._context.db is not None:
            self._behind = True
            self._queue.clear()
            self.waiting = 0
            return
        while (excess := self.waiting - BOUND) > 0:
            run, first, events, _ = self._queue.popleft()
            if len(events) > excess:
                self._queue.appendleft(EventBatch(run, first + excess, events[excess:]))
            self.waiting -= min(excess, len(events))

    def _leave_out(self) -> None:
        self._left_out = True
        self._behind = False
        self._queue.clear()
        self.waiting = 0

    # In the observer's thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._observe()
        finally:
            self._closed = True
            self._awaited.set()

    def _observe(self) -> None:
        observer: Observer | None = None
        try:
            observer = self._factory(self._context)
            if observer is not None:
                self._pass_on(observer.observe)
        except BaseException as error:  # an observer that exits or is interrupted ends its thread, not the run
            with suppress(Exception):
                self._warn(f"observer {self.name} failed and is left out of this run: {_text(error)}")
        with self._changed:
            self._leave_out()
        try:
            if observer is not None:
                observer.close()
        except BaseException as error:
            with suppress(Exception):
                self._warn(f"observer {self.name} failed while it was closed: {_text(error)}")

    def _pass_on(self, observe: Callable[[EventBatch], None]) -> None:
        """Pass all batches to the observer, until there will be no more."""
        while True:
            batch = self._next()
            if batch is None and self._behind:
                self._catch_up(observe)
            elif batch is None:
                return
            else:
                observe(batch)
                self._taken = batch.last
            self._ending.wait(PAUSE)

    def _next(self) -> EventBatch | None:
        """Everything that waits in the queue; None where the store must be read, or nothing more comes."""
        with self._changed:
            while not (self._queue or self._behind or self._left_out or self._ending.is_set()):
                self._changed.wait()
            if not self._queue:
                return None
            batches, self._queue, self.waiting = self._queue, deque(), 0
        run, first, events, _ = batches[0]
        if len(batches) > 1:
            events = list(chain.from_iterable(batch.events for batch in batches))
        return EventBatch(run, first, events, first - self._taken - 1)

    def _catch_up(self, observe: Callable[[EventBatch], None]) -> None:
        """Pass on what the store holds, until no event waits. The queue takes over from there."""
        assert self._context.db is not None
        with closing(Reader(self._context.db)) as reader:
            log = LogFollower(self._context.run, self._taken)
            while self._behind:
                # Not beyond what was published: later events come through the queue.
                batch = log.read_events(reader, min(PAGE, self._published - self._taken))
                if batch.events:
                    observe(batch)
                    self._taken = batch.last
                with self._changed:
                    self._behind = self._behind and bool(batch.events) and self._taken < self._published


def _text(error: BaseException) -> str:
    """The error as text. Those of agentdeck are written for operators."""
    return str(error) if isinstance(error, AgentdeckError) else f"{type(error).__name__}: {error}".rstrip(": ")
