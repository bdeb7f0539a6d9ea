"""All runs of the store, newest first; further pages are read as the cursor nears the end of the list."""

from __future__ import annotations

from functools import partial
from typing import Any

from textual import work
from textual.app import ComposeResult
from textual.widgets import Input

from agentdeck.console import gc_tuning
from agentdeck.console.actions import bindings
from agentdeck.console.form_fields import TextEntry
from agentdeck.console.row_list import ListColumn, ListRow, RowList
from agentdeck.console.run_records import RunRecords
from agentdeck.console.screens.base import SizedScreen
from agentdeck.console.screens.dialogs import Choice, Confirm, ask
from agentdeck.console.state_style import GLYPHS
from agentdeck.console.status_lines import Footer
from agentdeck.console.summary_text import total_of
from agentdeck.errors import AgentdeckError
from agentdeck.insight.formatting import moment, plural, seconds
from agentdeck.operations import engine_process
from agentdeck.operations.commands import cancel
from agentdeck.operations.inputs import moment_from
from agentdeck.operations.recorded_run import marks
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.terminal_text import clean

#: As many as there is room for.
COLUMNS = (
    ListColumn("state", 13), ListColumn("workflow", 20), ListColumn("run", 10), ListColumn("started", 19),
    ListColumn("took", 8, True), ListColumn("tasks", 12, True), ListColumn("failed", 6, True), ListColumn(""),
)  # fmt: skip
PAGE = 500
NEAR = 200
AGAIN = 2.0
ALIVE = ("running", "paused")  # states of a run that a process executes


class HistoryScreen(SizedScreen):
    """A virtual table of runs with a filter. A new read replaces the one in progress. Runs can be opened,
    retried, forked, cancelled and deleted."""

    scope = "history"
    BINDINGS = bindings("history")
    CSS = """
    HistoryScreen RowList { border: round $line; border-title-color: $primary; height: 1fr; }
    HistoryScreen RowList:focus { border: round $primary; }
    HistoryScreen Input { border: none; height: 1; background: $panel; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[RunRow] = []
        self._more = True
        self._reading = False
        self._text = ""

    def compose(self) -> ComposeResult:
        yield TextEntry(placeholder="filter: words, state:failed, workflow:order, since:12h, tag:x", compact=True)
        rows = RowList(COLUMNS, empty="no runs")
        rows.border_title = "History"
        yield rows
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(RowList).focus()
        self.poll(AGAIN, self._fresh)
        self.await_rows()
        self._read(again=True)

    def on_unmount(self) -> None:
        self.app.set_timer(gc_tuning.SETTLED, gc_tuning.look_again)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._text = event.value.strip()
        self._read(again=True)

    def on_input_submitted(self) -> None:
        self.query_one(RowList).focus()

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        if event.left < NEAR and self._more:
            self._read(again=False)

    def _fresh(self) -> None:
        """Read the newest runs again. A list of several pages, which the operator walks in, stays as it is."""
        if len(self._runs) <= PAGE and not self._reading:
            self._read(again=True)

    def _read(self, *, again: bool) -> None:
        if again or not self._reading:
            self._reading = True
            before = None if again or not self._runs else self._runs[-1].key
            page = self._page(self._text, before)
            self.run_worker(page, name="history", group="history", exclusive=True)

    async def _page(self, text: str, before: tuple[float, str] | None) -> None:
        fault, found = "", list[RunRow]()
        try:
            async with AsyncReader(self.console_app.db) as store:
                found = await store.read(Reader.runs, PAGE, before=before, **parse_filter(text))
        except AgentdeckError as error:
            fault = str(error)
        self._reading = False
        if not self.query(RowList):  # the screen is being closed
            return
        if fault:
            self.notify(clean(fault), title="store", severity="error")
        self._more = len(found) == PAGE
        shown = self.query_one(RowList)
        if before is None:
            self._runs = found
            rows = [_row(run) for run in found]
            if rows != shown.rows:
                shown.show(rows)
        else:
            self._runs += found
            shown.add([_row(run) for run in found])
            gc_tuning.set_aside()
        self.rows_are_read()
        shown.border_subtitle = f"{len(self._runs):,}{'+' if self._more else ''} runs"

    @property
    def chosen(self) -> RunRow | None:
        """The run under the cursor."""
        key = self.query_one(RowList).key
        return next((run for run in self._runs if run.run == key), None)

    def action_open(self) -> None:
        if key := self.query_one(RowList).key:
            self.console_app.open_run(key)

    def on_row_list_chosen(self) -> None:
        self.action_open()

    def action_filter(self) -> None:
        self.set_focus(self.query_one(Input))  # at once: what is typed next is meant for it

    def action_back(self) -> None:
        field = self.query_one(Input)
        if field.has_focus or field.value:
            field.value = ""
            self.query_one(RowList).focus()
        else:
            self.dismiss()

    # What an operator does to a run: each action says what it touches, and asks first --------------------------

    def _warn(self, text: str) -> None:
        self.notify(clean(text), severity="warning")

    def action_retry(self) -> None:
        if (row := self.chosen) is not None:
            self._offer_retry(row)

    @work(group="retry", exclusive=True)
    async def _offer_retry(self, row: RunRow) -> None:
        """Read what failed, and offer to run it again."""
        app = self.console_app
        try:
            found = (await RunRecords(app.db, row.run).retry_options()).options
        except AgentdeckError as error:
            self._warn(str(error))
            return
        if not found:
            self._warn(f"{row.run}: nothing to retry")
            return
        failed = found[0]  # without a selection there is no narrower way
        retry = partial(engine_process.retry, app.db, row.run, failed.arguments)
        choices = [Choice("yes", "y", "Retry what failed"), Choice("", "n", "No")]
        ask(self, Confirm(f"Retry in {row.run}?", [failed.plan.summary], choices), lambda _: app.start(retry))

    def action_fork(self) -> None:
        """Start a new run on the results of this one, if the operator confirms it."""
        if (row := self.chosen) is not None:
            touches = [
                "The new run reuses its results and runs what failed or is missing. This run does not change."
            ]
            choices = [Choice("yes", "y", "Fork and run"), Choice("", "n", "No")]
            ask(self, Confirm(f"Fork {row.run}?", touches, choices), lambda _: self._fork(row))

    @work(thread=True)
    def _fork(self, row: RunRow) -> None:
        from agentdeck.operations.fork import Fork, fork

        app = self.console_app
        try:
            made = fork(app.db, Fork(row.run))
        except AgentdeckError as error:
            self.app.call_from_thread(self._warn, str(error))
        else:
            self.app.call_from_thread(app.start, partial(engine_process.resume, app.db, made.run))

    def action_cancel(self) -> None:
        """Cancel a run that executes, if the operator confirms it."""
        row = self.chosen
        if row is None or row.state not in ALIVE:
            self._warn("only an executing run can be cancelled")
            return
        left = max(0, total_of(row) - row.tasks.done - row.tasks.failed)
        touches = [
            f"{plural(left, 'task')} of {row.workflow} will not be executed; what has ended stays recorded."
        ]
        choices = [Choice("", "n", "No, let it run"), Choice("yes", "y", "Cancel it", "", True)]

        def answered(answer: str) -> None:
            self.send_command(row.run, cancel(), lambda _: self._read(again=True))

        ask(self, Confirm(f"Cancel {row.run}?", touches, choices), answered)

    def action_delete(self) -> None:
        """Delete a run that does not execute, if the operator confirms it."""
        row = self.chosen
        if row is None or row.state in ALIVE:
            self._warn("an executing run cannot be deleted; cancel it first")
            return
        touches = [
            f"{row.workflow}, {row.state}, started {moment(row.started)}: {plural(row.tasks.total, 'task')}.",
            "Its events, logs and dead letters will be deleted. This cannot be undone.",
        ]
        choices = [Choice("", "n", "No, keep it"), Choice("yes", "y", "Delete it", "", True)]
        ask(self, Confirm(f"Delete {row.run}?", touches, choices), lambda _: self._delete(row))

    @work(thread=True)
    def _delete(self, row: RunRow) -> None:
        from agentdeck.operations.prune import delete_run

        try:
            gone = delete_run(self.console_app.db, row)
            text = (
                f"{row.run}: {gone.events:,} events deleted"
                if gone.runs
                else f"{row.run} was not deleted: another process is using it"
            )
        except AgentdeckError as error:
            text = str(error)
        self.app.call_from_thread(self._show_deleted, text)

    def _show_deleted(self, text: str) -> None:
        self.notify(clean(text))
        self._read(again=True)


def parse_filter(text: str) -> dict[str, Any]:
    """The arguments of `Reader.runs` for a line like `state:failed since:12h words`. Raises UsageError."""
    words, values = list[str](), dict[str, Any]()
    for word in text.split():
        match word.partition(":"):
            case [("state" | "workflow" | "tag") as name, ":", value] if value:
                values[name] = value
            case [("since" | "until") as name, ":", value] if value:
                values[name] = moment_from(value, f"{name}:")
            case _:
                words.append(word)
    return {"text": " ".join(words) or None, **values}


def _row(run: RunRow) -> ListRow:
    tasks = run.tasks
    return ListRow(
        run.run,
        (
            (f"{GLYPHS.get(run.state, ' ')} {run.pause_cause or run.state}", run.state),
            (run.workflow, "text"),
            (run.run, "dim"),
            (moment(run.started), "dim"),
            (seconds(run.seconds), "text"),
            (f"{tasks.done:,}/{total_of(run):,}", "text"),
            (f"{tasks.failed:,}", "failed") if tasks.failed else ("·", "line"),
            (marks(run).removeprefix(" · "), "dim"),
        ),
    )
