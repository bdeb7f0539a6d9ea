"""The progress of a run of another process, as the lines that `agentdeck run` prints, and its open question.

The store is read in pages with the reader that the caller passes: the trigger reads in the thread of aiosqlite,
the operator in its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from agentdeck.cli.progress import PlainNarrator, dead_letters, ending
from agentdeck.command_hint import with_db
from agentdeck.documents.question import Question
from agentdeck.engine.resume import definition_of
from agentdeck.operations.questions import asked_as, question_from
from agentdeck.operations.recorded_run import LIVE, launched_tasks, load_run
from agentdeck.scheduler import events as ev
from agentdeck.store.log_follower import EventBatch, LogFollower
from agentdeck.store.reader import PAGE, Reader
from agentdeck.store.run_list import RunRow
from agentdeck.terminal_text import clean
from agentdeck.views.open_questions import OpenQuestions


@dataclass(frozen=True, slots=True)
class News:
    """What is new in a run: log `lines`, its state, the number of the last event that was read, and the oldest
    question without an answer. `more`: there are further events."""

    lines: list[str] = field(default_factory=list)
    state: str = ""
    seq: int = 0
    question: Question | None = None
    more: bool = False

    @property
    def over(self) -> bool:
        """Whether no process executes the run any more, and everything of it was read."""
        return not self.more and self.state not in LIVE


class Narration:
    """Follows a run. Its first `after` events give no lines: an earlier narration has read them."""

    def __init__(self, db: Path, run: str, after: int = 0) -> None:
        self._db = db
        self._after = after
        self._log = LogFollower(run)
        self._questions = OpenQuestions()
        self._narrator: PlainNarrator | None = None
        self._lines: list[str] = []

    def read(self, reader: Reader) -> News:
        """The news since the last call, from one page of events. Raises StoreError where the store cannot be
        read, UsageError where the run is no longer in it."""
        run = self._log.run
        row = reader.run(run)  # before its events, so that those of an ended run are complete
        narrator = self._narrator
        if narrator is None:
            definition = definition_of(reader, row)
            narrator = self._narrator = PlainNarrator(definition, launched_tasks(row), say=self._say)
        unsaid = max(0, self._after - self._log.event)
        batch = self._log.read_events(reader, min(PAGE, unsaid) if unsaid else PAGE)
        self._apply(narrator, batch)
        if unsaid:
            self._lines.clear()
        more = len(batch.events) > 0
        if not more and row.state not in LIVE:
            self._say_end(reader)
        lines, self._lines = self._lines, []
        return News(lines, row.state, self._log.event, self._question(reader, row), more)

    def _apply(self, narrator: PlainNarrator, batch: EventBatch) -> None:
        narrator.observe(batch)
        for event in batch.events:
            self._questions.apply(event)

    def _question(self, reader: Reader, row: RunRow) -> Question | None:
        event = next(iter(self._questions.asked.values()), None)
        return None if event is None else question_from(row.run, event, asked_as(reader, row, event))

    def _say_end(self, reader: Reader) -> None:
        row, _, view = load_run(reader, self._log.run)
        self._say(ending(view, row.state))
        if letters := dead_letters(view):
            self._say(letters)

    def _say(self, text: str) -> None:
        self._lines.append(with_db(clean(text, lines=True), str(self._db)))


def last_note(reader: Reader, run: str) -> str:
    """The last note on a run as a whole: why it stopped, if it stopped by itself."""
    notes = [one.text for one in reader.of_kind(run, "noted") if type(one) is ev.Noted and not one.task]
    return notes[-1] if notes else ""
