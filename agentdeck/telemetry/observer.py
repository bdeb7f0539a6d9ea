"""The observer that sends the spans of a run while it executes. It exists where a receiver is named in the
environment; otherwise nothing of this is imported, and the run has one observer less.

It has a thread of its own (`engine/observer_feed.py`), so a slow receiver delays nothing. While the receiver does
not take spans, nothing is kept in memory: the store has the events, and they are read from there later.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentdeck.engine.observers import EventBatch, Observer, ObserverContext
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.telemetry.settings import Receiver, has_endpoint, receiver, wants_content, why_off

if TYPE_CHECKING:
    from agentdeck.telemetry.otlp import Sender
    from agentdeck.telemetry.run_export import RunExport

#: Seconds between two requests: less than that costs the run more time of the interpreter than it tells anybody.
PAUSE = 0.25
#: Seconds that one request may take with its repetitions, unless the environment says otherwise.
TIMEOUT = 4.0
#: Seconds after a request that failed until the next one; each further one doubles them up to the second number.
RETRY = 2.0, 60.0
#: Seconds after the end of the run in which the rest is sent. The end of a run waits for 10 s.
LAST = 8.0
#: Seconds after which the lines that an attempt logged are in the store, too.
LINES = 0.1
_ENDS = (ev.RunEnded, ev.RunDrained)


def observe_run(context: ObserverContext) -> Observer | None:
    """The observer of a run; None where no receiver is named. Raises UsageError for settings that make no sense,
    and where the extra `otel` is missing."""
    if not has_endpoint(os.environ) or why_off(os.environ):
        return None
    return SpanObserver(context, receiver(os.environ))


class SpanObserver:
    """Sends the spans that had ended by the events it received, in order. What the receiver does not take is not
    given up: it is tried again later, and `close` says what is left."""

    def __init__(self, context: ObserverContext, to: Receiver) -> None:
        from agentdeck.telemetry.otlp import Sender

        self._context = context
        self._to = to
        self._sender = Sender(to, None if os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT") else TIMEOUT)
        self._reader = Reader(context.db) if context.db is not None else None
        self._export = _export(context, to, self._sender, self._reader)
        self._last = context.first - 1
        self._lost = 0
        self._pause = RETRY[0]
        self._next = 0.0
        self._until: float | None = None

    def observe(self, batch: EventBatch) -> None:
        self._last = batch.last
        if any(isinstance(event, _ENDS) for event in batch.events):
            self._until = time.monotonic() + LAST
            time.sleep(LINES)
        else:
            time.sleep(0.0 if self._export.problem else max(LINES, self._next - time.monotonic()))
        if self._export.problem and time.monotonic() < self._next and self._until is None:
            return
        self._send(batch)

    def close(self) -> None:
        """Raises ReceiverError where spans are left that the receiver does not have."""
        from agentdeck.telemetry.otlp import ReceiverError

        try:
            self._export.save_now()
            left = self._lost + self._last - self._export.exported
            if left > 0:
                why = self._export.problem or "it did not take them in time"
                run, again = self._context.run, ""
                if self._context.db is not None:
                    again = f". To send them: agentdeck otel export {run}"
                what = f"the spans of {left:,} events of {run} were not sent to {self._to.name}: {why}"
                raise ReceiverError(what + again)
        finally:
            self._sender.close()
            if self._reader is not None:
                self._reader.close()

    def _send(self, batch: EventBatch) -> None:
        """Send what the receiver lacks, up to the end of the batch."""
        if not self._export.problem or self._export.flush():
            for seq, event in self._events(batch):
                self._export.add(seq, event)
                if self._export.problem or (self._until is not None and time.monotonic() > self._until):
                    break
            else:
                self._export.flush()
        if self._export.problem:
            self._next = time.monotonic() + self._pause
            self._pause = min(RETRY[1], 2 * self._pause)
        else:
            self._next, self._pause = time.monotonic() + PAUSE, RETRY[0]

    def _events(self, batch: EventBatch) -> Iterator[tuple[int, Any]]:
        """The events after the last one that was folded. Those before the batch are in the store; without one
        they are lost."""
        done = self._export.seq
        missing = max(0, batch.first - 1 - done)
        if self._reader is None:
            self._lost += missing
        elif missing:
            yield from self._reader.events(self._context.run, done, missing)
        for seq, event in enumerate(batch.events, batch.first):
            if seq > done:
                yield seq, event


def _export(context: ObserverContext, to: Receiver, sender: Sender, reader: Reader | None) -> RunExport:
    """The export of the run from where it was left: in the store are the events before the first one that the
    observer receives, and which of them the receiver has."""
    from agentdeck.engine.resume import nested_of
    from agentdeck.store.exports import exported, save_exported
    from agentdeck.telemetry.run_export import RunExport, span_fold

    definitions = {"": context.definition}
    folder, after = context.definition.folder or Path(), 0
    if context.db is None or reader is None:
        fold = span_fold(context.run, definitions, folder, None, content=wants_content(os.environ))
        return RunExport(fold, sender, context.first - 1, lambda seq: None, context.first - 1)
    row = reader.run(context.run)
    definitions |= nested_of(reader, row)
    folder = Path(str(row.source.get("folder") or folder))
    after = exported(reader, context.run, to.name)
    fold = span_fold(context.run, definitions, folder, reader, content=wants_content(os.environ))
    save = partial(save_exported, context.db, context.run, to.name)
    return RunExport(fold, sender, after, save)
