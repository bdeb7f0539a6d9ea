"""All runs of the store, newest first; further pages are read as the cursor nears the end of the list."""

from __future__ import annotations

from typing import NamedTuple

from textual.app import ComposeResult
from textual.widgets import Input

from agentdeck.console import gc_tuning
from agentdeck.console.actions import bindings
from agentdeck.console.footer import Footer
from agentdeck.console.row_list import ListColumn, ListRow, RowList
from agentdeck.console.screens.base import SizedScreen
from agentdeck.console.screens.run_list_actions import RunListActions
from agentdeck.console.state_style import GLYPHS
from agentdeck.console.summary_text import total_of
from agentdeck.console.text_entry import TextEntry
from agentdeck.errors import AgentdeckError
from agentdeck.insight.formatting import moment, seconds
from agentdeck.operations.run_list import marks, moment_from
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


class HistoryScreen(SizedScreen):
    """A virtual table of runs with a filter. A new read replaces the one in progress."""

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
        self._wanted = 0

    def compose(self) -> ComposeResult:
        yield TextEntry(placeholder="filter: words, state:failed, workflow:order, since:12h, tag:x", compact=True)
        rows = RowList(COLUMNS, empty="no runs")
        rows.border_title = "History"
        yield rows
        yield Footer()

    def on_mount(self) -> None:
        app = self.console_app
        self._actions = RunListActions(self, app.db, app.start, lambda: self._read(again=True))
        self.query_one(RowList).focus()
        self._timer = self.set_interval(AGAIN, self._fresh)
        self._read(again=True)

    def on_unmount(self) -> None:
        self.app.set_timer(gc_tuning.SETTLED, gc_tuning.look_again)

    def on_screen_suspend(self) -> None:
        self._timer.pause()

    def on_screen_resume(self) -> None:
        self._timer.resume()

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
        self._wanted += again
        if again or not self._reading:
            self._reading = True
            before = None if again or not self._runs else self._runs[-1].key
            page = self._page(self._wanted, self._text, before)
            self.run_worker(page, name="history", group="history", exclusive=True)

    async def _page(self, wanted: int, text: str, before: tuple[float, str] | None) -> None:
        fault, found = "", list[RunRow]()
        try:
            async with AsyncReader(self.console_app.db) as store:
                found = await store.read(_page, before, parse_filter(text))
        except AgentdeckError as error:
            fault = str(error)
        self._take(wanted, found, before is None, fault)

    def _take(self, wanted: int, found: list[RunRow], first: bool, fault: str) -> None:
        self._reading = False
        if not self.query(RowList):  # the screen is being closed
            return
        if fault:
            self.notify(clean(fault), title="store", severity="error", markup=False)
        if wanted != self._wanted:
            return
        self._more = len(found) == PAGE
        shown = self.query_one(RowList)
        if first:
            self._runs = found
            rows = [_row(run) for run in found]
            if rows != shown.rows:
                shown.show(rows)
        else:
            self._runs += found
            shown.add([_row(run) for run in found])
            gc_tuning.set_aside()
        shown.border_subtitle = f"{len(self._runs):,}{'+' if self._more else ''} runs"

    @property
    def chosen(self) -> RunRow | None:
        """The run under the cursor."""
        key = self.query_one(RowList).key
        return next((run for run in self._runs if run.run == key), None)

    def action_open(self) -> None:
        if key := self.query_one(RowList).key:
            self.console_app.open_run(key)

    def action_retry(self) -> None:
        if (row := self.chosen) is not None:
            self._actions.retry(row)

    def action_fork(self) -> None:
        if (row := self.chosen) is not None:
            self._actions.fork(row)

    def action_cancel(self) -> None:
        self._actions.cancel(self.chosen)

    def action_delete(self) -> None:
        self._actions.delete(self.chosen)

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


class RunFilter(NamedTuple):
    """Which runs to list, as `Reader.runs` takes it."""

    text: str | None = None
    state: str | None = None
    workflow: str | None = None
    tag: str | None = None
    since: float | None = None
    until: float | None = None


def parse_filter(text: str) -> RunFilter:
    """The filter of a line like `state:failed since:12h words`. Raises UsageError for a time that is none."""
    found = RunFilter()
    words = []
    for word in text.split():
        match word.partition(":"):
            case ["state", ":", value] if value:
                found = found._replace(state=value)
            case ["workflow", ":", value] if value:
                found = found._replace(workflow=value)
            case ["tag", ":", value] if value:
                found = found._replace(tag=value)
            case ["since", ":", value] if value:
                found = found._replace(since=moment_from(value, "since:"))
            case ["until", ":", value] if value:
                found = found._replace(until=moment_from(value, "until:"))
            case _:
                words.append(word)
    return found._replace(text=" ".join(words) or None)


def _page(reader: Reader, before: tuple[float, str] | None, wanted: RunFilter) -> list[RunRow]:
    return reader.runs(PAGE, before=before, **wanted._asdict())


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
