"""What can be done with a run that is listed: each with what it touches, before it is done."""

from __future__ import annotations

import time
from functools import partial

from agentdeck.console.commands import tell
from agentdeck.console.pane import Selection
from agentdeck.console.retry_actions import ways
from agentdeck.console.screens.base import Shown
from agentdeck.console.screens.confirm import Choice, Confirm
from agentdeck.console.summary_text import total_of
from agentdeck.errors import AgentdeckError
from agentdeck.insight.formatting import moment, plural
from agentdeck.operations import engine_process
from agentdeck.store.run_list import RunRow
from agentdeck.terminal_text import clean

ALIVE = ("running", "paused")


class Kept(Shown):
    """A screen with a list of runs."""

    @property
    def chosen(self) -> RunRow | None:
        """The run that the cursor is on."""
        raise NotImplementedError

    def again(self) -> None:
        """Read the list again: something of it changed."""
        raise NotImplementedError

    def _refuse(self, text: str) -> None:
        self.notify(clean(text), severity="warning", markup=False)

    def action_retry(self) -> None:
        if (row := self.chosen) is not None:
            self.run_worker(partial(self._ways, row), thread=True, name=f"ways {row.run}")

    def _ways(self, row: RunRow) -> None:
        try:
            found = ways(self.deck.db, row.run, Selection())[1]
        except AgentdeckError as error:
            self.app.call_from_thread(self._refuse, str(error))
            return
        if not found:
            self.app.call_from_thread(self._refuse, f"{row.run}: nothing failed that could go again")
            return
        failed = found[0]  # without a selection there is no narrower way

        def answered(answer: str | None) -> None:
            if answer:
                self.deck.start(partial(engine_process.retry, self.deck.db, row.run, failed.arguments))

        choices = [Choice("yes", "y", "Retry what failed"), Choice("", "n", "No")]
        ask = Confirm(f"Retry in {row.run}?", [failed.told], choices)
        self.app.call_from_thread(self.app.push_screen, ask, answered)

    def action_fork(self) -> None:
        row = self.chosen
        if row is None:
            return

        def answered(answer: str | None) -> None:
            if answer:
                self.run_worker(partial(self._fork, row), thread=True, name=f"fork {row.run}")

        touches = ["A new run on its results, from whatever failed or is missing. This one stays as it is."]
        choices = [Choice("yes", "y", "Fork and run"), Choice("", "n", "No")]
        self.app.push_screen(Confirm(f"Fork {row.run}?", touches, choices), answered)

    def _fork(self, row: RunRow) -> None:
        from agentdeck.engine.fork import Fork, fork

        try:
            made = fork(self.deck.db, Fork(row.run))
        except AgentdeckError as error:
            self.app.call_from_thread(self._refuse, str(error))
            return
        self.app.call_from_thread(self.deck.start, partial(engine_process.resume, self.deck.db, made.run))

    def action_cancel(self) -> None:
        row = self.chosen
        if row is None or row.state not in ALIVE:
            self._refuse("only a run that executes can be cancelled")
            return

        def answered(answer: str | None) -> None:
            if answer:
                tell(self.app, self.deck.db, row.run, "cancel", {}, lambda _: self.again())

        left = max(0, total_of(row) - row.tasks.done - row.tasks.failed)
        touches = [f"{plural(left, 'task')} of {row.workflow} will not be done; what has ended is kept."]
        choices = [Choice("", "n", "No, let it run"), Choice("yes", "y", "Cancel it", "", True)]
        self.app.push_screen(Confirm(f"Cancel {row.run}?", touches, choices), answered)

    def action_delete(self) -> None:
        row = self.chosen
        if row is None or row.state in ALIVE:
            self._refuse("a run that executes cannot be deleted; cancel it first")
            return

        def answered(answer: str | None) -> None:
            if answer:
                self.run_worker(partial(self._delete, row), thread=True, name=f"delete {row.run}")

        touches = [
            f"{row.workflow}, {row.state}, started {moment(row.started)}: {plural(row.tasks.total, 'task')}.",
            "Its events, logs and letters go for good.",
        ]
        choices = [Choice("", "n", "No, keep it"), Choice("yes", "y", "Delete it", "", True)]
        self.app.push_screen(Confirm(f"Delete {row.run}?", touches, choices), answered)

    def _delete(self, row: RunRow) -> None:
        from agentdeck.store.prune import prune

        try:
            gone = prune(self.deck.db, [row.run], time.time())
            text = f"{row.run}: {gone.events:,} events deleted" if gone.runs else f"{row.run} is held by somebody"
        except AgentdeckError as error:
            text = str(error)
        self.app.call_from_thread(self._deleted, text)

    def _deleted(self, text: str) -> None:
        self.notify(clean(text), markup=False)
        self.again()
