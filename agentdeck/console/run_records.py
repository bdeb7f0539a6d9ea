"""What the store has recorded of one run, read on request. The methods are called in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from agentdeck.scheduler.events import Event
from agentdeck.store.reader import Reader
from agentdeck.views.run_view import RunView

if TYPE_CHECKING:
    from agentdeck.insight.step import StepStory
    from agentdeck.workflow.model import Approve

MAX_EVENTS = 200_000  # events that the timeline is drawn from


class RunRecords:
    """Reads events, steps and approvals of a run. Every method raises StoreError where the store is unusable."""

    def __init__(self, db: Path, run: str) -> None:
        self.db, self.run = db, run
        self._ended_view: tuple[str, RunView] | None = None

    @contextmanager
    def _reader(self) -> Iterator[Reader]:
        reader = Reader(self.db)
        try:
            yield reader
        finally:
            reader.close()

    def story(self, task: str, step: str) -> StepStory:
        """Everything that was recorded of one step."""
        from agentdeck.insight.step import recorded_story

        with self._reader() as reader:
            return recorded_story(reader, self.run, task, step)

    def events(self, task: str) -> list[tuple[int, Event]]:
        """The events of a task by number; of the whole run for an empty name."""
        with self._reader() as reader:
            events = reader.events(self.run, limit=MAX_EVENTS)
            return [(seq, e) for seq, e in events if not task or getattr(e, "task", "") == task]

    def approval(self, task: str, step: str) -> Approve | None:
        """What an approval step asks, as the workflow or its sub-workflow declares it; None where version 0.1 did
        not record the sub-workflow."""
        from agentdeck.insight.prompt_text import approval

        with self._reader() as reader:
            return approval(reader, reader.run(self.run), step, task)

    def ended_view(self, task: str) -> RunView:
        """A view of one ended task, folded from its own events. The last one is cached."""
        from agentdeck.operations.explain import task_view
        from agentdeck.workflow.model import restored

        if self._ended_view is None or self._ended_view[0] != task:
            with self._reader() as reader:
                row = reader.run(self.run)
                definition = restored(reader.definition(row.identity))
                self._ended_view = task, task_view(reader, row, definition, task)
        return self._ended_view[1]
