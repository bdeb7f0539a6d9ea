"""An observer that writes a line per run into the file that CLERK_LEDGER names: its steps, and how it ended."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

from agentdeck.engine.observers import EventBatch, ObserverContext
from agentdeck.scheduler.events import RunEnded, StepFailed, StepSucceeded


def keep_ledger(context: ObserverContext) -> Ledger | None:
    """The observer of a run; None where no file is named."""
    file = os.environ.get("CLERK_LEDGER")
    return Ledger(context, Path(file)) if file else None


class Ledger:
    """Counts the steps of one run."""

    def __init__(self, context: ObserverContext, file: Path) -> None:
        self._run = context.run
        self._workflow = context.definition.name
        self._file = file
        self._counts: Counter[str] = Counter()
        self._state = "not ended"

    def observe(self, batch: EventBatch) -> None:
        for event in batch.events:
            if isinstance(event, StepSucceeded):
                self._counts["done"] += 1
            elif isinstance(event, StepFailed):
                self._counts["failed"] += 1
            elif isinstance(event, RunEnded):
                self._state = event.state

    def close(self) -> None:
        line = {"run": self._run, "workflow": self._workflow, "state": self._state, **self._counts}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
