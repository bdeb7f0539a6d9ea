"""Exports the spans of a recorded run to a receiver of OpenTelemetry."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agentdeck.engine.resume import definition_of, nested_of
from agentdeck.errors import UsageError
from agentdeck.operations.recorded_run import LIVE, open_store
from agentdeck.store.exports import exported, save_exported
from agentdeck.telemetry.otlp import ReceiverError, Sender
from agentdeck.telemetry.run_export import RunExport, span_fold
from agentdeck.telemetry.settings import receiver, wants_content, why_off


@dataclass(frozen=True, slots=True)
class SpansSent:
    """What was sent: `spans` of the events after `after`, up to `last`. `running`: more will follow."""

    run: str
    receiver: str
    spans: int
    after: int
    last: int
    running: bool


def export_spans(db: str | None, run: str, *, content: bool = False, again: bool = False) -> SpansSent:
    """Send the spans of a run that the receiver does not have; all of them with `again`.

    Raises UsageError for an unknown run, a setting that makes no sense and a missing extra; ReceiverError where
    the receiver does not take the spans: a later export goes on from there.
    """
    if off := why_off(os.environ):
        raise UsageError(f"{off} turns the export of spans off; unset it for this command")
    to = receiver(os.environ)
    with open_store(db) as reader:
        row = reader.run(run)
        definitions = {"": definition_of(reader, row), **nested_of(reader, row)}
        folder = Path(str(row.source.get("folder") or "."))
        content = content or wants_content(os.environ)
        fold = span_fold(row.run, definitions, folder, reader, content=content)
        after = 0 if again else exported(reader, row.run, to.name)
        with closing(Sender(to)) as sender:
            export = RunExport(fold, sender, after, partial(save_exported, reader.path, row.run, to.name))
            for seq, event in reader.events(row.run):
                export.add(seq, event)
                if export.problem:
                    break
            if not export.problem:
                export.flush()
            export.save_now()
            if export.problem:
                raise ReceiverError(
                    f"{to.name} does not take the spans: {export.problem}; {export.sent:,} of {row.run} were"
                    f" sent, from event {export.exported + 1:,} on they were not."
                    f" To continue: agentdeck otel export {row.run}"
                )
            return SpansSent(row.run, to.name, export.sent, after, export.seq, row.state in LIVE)
