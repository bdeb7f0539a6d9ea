"""What an operator does to a run in a list: each action says what it touches, and asks first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from textual.screen import Screen

from agentdeck.console.commands import send_command
from agentdeck.console.screens.dialogs import Choice, Confirm
from agentdeck.console.summary_text import total_of
from agentdeck.errors import AgentdeckError
from agentdeck.insight.formatting import moment, plural
from agentdeck.operations import commands, engine_process
from agentdeck.operations.engine_process import EngineProcess
from agentdeck.operations.retry import retry_options
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.run_list import RunRow
from agentdeck.terminal_text import clean

ALIVE = ("running", "paused")


class RunListActions:
    """Retry, fork, cancel and delete the runs of a store. `screen` shows the questions, `start_engine` starts a
    process and opens its run, `changed` is called when the list must be read again."""

    def __init__(
        self,
        screen: Screen[None],
        db: Path,
        start_engine: Callable[[Callable[[], EngineProcess]], object],
        changed: Callable[[], None],
    ) -> None:
        self._screen = screen
        self._db = db
        self._start_engine = start_engine
        self._changed = changed

    def _warn(self, text: str) -> None:
        self._screen.notify(clean(text), severity="warning", markup=False)

    def _warn_from_thread(self, text: str) -> None:
        self._screen.app.call_from_thread(self._warn, text)

    def _confirm(self, title: str, touches: list[str], choices: list[Choice], then: Callable[[], object]) -> None:
        def answered(answer: str | None) -> None:
            if answer:
                then()

        self._screen.app.push_screen(Confirm(title, touches, choices), answered)

    def retry(self, row: RunRow) -> None:
        """Offer to run again what failed in a run."""
        self._screen.run_worker(self._find_retry(row), name=f"retry {row.run}", group="retry", exclusive=True)

    async def _find_retry(self, row: RunRow) -> None:
        """Read what failed, and offer to retry it."""
        try:
            async with AsyncReader(self._db) as store:
                _, found = await store.read(retry_options, row.run)
        except AgentdeckError as error:
            self._warn(str(error))
            return
        if not found:
            self._warn(f"{row.run}: nothing failed that could go again")
            return
        failed = found[0]  # without a selection there is no narrower way

        def start() -> None:
            self._start_engine(partial(engine_process.retry, self._db, row.run, failed.arguments))

        choices = [Choice("yes", "y", "Retry what failed"), Choice("", "n", "No")]
        self._confirm(f"Retry in {row.run}?", [failed.plan.summary], choices, start)

    def fork(self, row: RunRow) -> None:
        """Offer to start a new run on the results of this one."""
        touches = ["A new run on its results, from whatever failed or is missing. This one stays as it is."]
        choices = [Choice("yes", "y", "Fork and run"), Choice("", "n", "No")]

        def start() -> None:
            self._screen.run_worker(partial(self._fork, row), thread=True, name=f"fork {row.run}")

        self._confirm(f"Fork {row.run}?", touches, choices, start)

    def _fork(self, row: RunRow) -> None:
        from agentdeck.operations.fork import Fork, fork

        try:
            made = fork(self._db, Fork(row.run))
        except AgentdeckError as error:
            self._warn_from_thread(str(error))
            return
        resume = partial(engine_process.resume, self._db, made.run)
        self._screen.app.call_from_thread(self._start_engine, resume)

    def cancel(self, row: RunRow | None) -> None:
        """Cancel a run that executes, if the operator confirms it."""
        if row is None or row.state not in ALIVE:
            self._warn("only a run that executes can be cancelled")
            return
        left = max(0, total_of(row) - row.tasks.done - row.tasks.failed)
        touches = [f"{plural(left, 'task')} of {row.workflow} will not be done; what has ended is kept."]
        choices = [Choice("", "n", "No, let it run"), Choice("yes", "y", "Cancel it", "", True)]

        def cancel() -> None:
            send_command(self._screen.app, self._db, row.run, commands.cancel(), lambda _: self._changed())

        self._confirm(f"Cancel {row.run}?", touches, choices, cancel)

    def delete(self, row: RunRow | None) -> None:
        """Delete a run that does not execute, if the operator confirms it."""
        if row is None or row.state in ALIVE:
            self._warn("a run that executes cannot be deleted; cancel it first")
            return
        touches = [
            f"{row.workflow}, {row.state}, started {moment(row.started)}: {plural(row.tasks.total, 'task')}.",
            "Its events, logs and letters go for good.",
        ]
        choices = [Choice("", "n", "No, keep it"), Choice("yes", "y", "Delete it", "", True)]

        def delete() -> None:
            self._screen.run_worker(partial(self._delete, row), thread=True, name=f"delete {row.run}")

        self._confirm(f"Delete {row.run}?", touches, choices, delete)

    def _delete(self, row: RunRow) -> None:
        from agentdeck.operations.prune import delete_run

        try:
            gone = delete_run(self._db, row)
            text = f"{row.run}: {gone.events:,} events deleted" if gone.runs else f"{row.run} is held by somebody"
        except AgentdeckError as error:
            text = str(error)
        self._screen.app.call_from_thread(self._deleted, text)

    def _deleted(self, text: str) -> None:
        self._screen.notify(clean(text), markup=False)
        self._changed()
