"""The first screen: workflows to launch, runs in progress, and a page on the selected one."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult, SuspendNotSupported
from textual.containers import Container, Vertical
from textual.timer import Timer
from textual.widgets import Static

from agentdeck.console.actions import bindings
from agentdeck.console.library import EXAMPLES, FOLDER, HERE, RECENT, Library, PastRuns, WorkflowEntry, pasts
from agentdeck.console.palette import PaletteEntry
from agentdeck.console.row_list import ListColumn, ListRow, RowList
from agentdeck.console.run_preview import RunPreview
from agentdeck.console.screens.base import ScrollPage, SizedScreen
from agentdeck.console.state_style import GLYPHS, role_styles
from agentdeck.console.status_lines import Footer
from agentdeck.errors import AgentdeckError
from agentdeck.terminal_text import clean

if TYPE_CHECKING:
    from agentdeck.store.async_reader import AsyncReader
    from agentdeck.store.reader import Reader
    from agentdeck.store.run_list import RunRow
    from agentdeck.workflow.model import Definition

# Importing what the store, the workflows and the page need takes longer than showing the screen: it is imported
# where it is first used, after the first paint.

LOOK = 1.0
SOON = 0.1
PAST = 300
TAKE_LINE = ("vi", "vim", "nvim", "nano")  # editors that open a file at a line given as +12
UNREAD = -2  # no version of a store
ALIVE = ("running", "paused", "interrupted")


class DeckScreen(SizedScreen):
    """Workflows and runs in one list; a page on the selected one beside it. Files and store are read once a
    second, off the loop, and only what changed is drawn."""

    scope = "deck"
    BINDINGS = bindings("deck")
    DEFAULT_CSS = """
    DeckScreen #deck { height: 1fr; layout: horizontal; }
    DeckScreen RowList { border: round $line; border-title-color: $primary; }
    DeckScreen VerticalScroll { border: round $line; padding: 0 1; height: 1fr; }
    DeckScreen #drawn { border: round $line; height: 1fr; }
    DeckScreen #drawn:focus-within { border: round $primary; }
    DeckScreen RowList:focus, DeckScreen VerticalScroll:focus { border: round $primary; }
    DeckScreen RowList { width: 9fr; min-width: 44; max-width: 64; } DeckScreen #about-it { width: 16fr; }
    DeckScreen.narrow #deck { layout: vertical; }
    DeckScreen.narrow RowList, DeckScreen.narrow #about-it { width: 100%; max-width: 100%; height: 1fr; }
    """

    def __init__(self, file: Path | None = None) -> None:
        super().__init__()
        self._first_key = str(file.resolve()) if file else None
        self._library = Library(Path.cwd(), [file] if file else [])
        self._runs: list[RunRow] = []
        self._past_runs: dict[str, PastRuns] = {}
        self._durations: dict[str, dict[str, float]] = {}
        self._shown_key = ""
        self._reading = False
        self._fault = ""
        self._draw_timer: Timer | None = None
        self._store: AsyncReader | None = None
        self._version = UNREAD

    def compose(self) -> ComposeResult:
        with Container(id="deck"):
            columns = [ListColumn(""), ListColumn("", 13), ListColumn("", 8, True), ListColumn("", 8)]
            rows = RowList(columns, empty="reading …")
            rows.border_title = "agentdeck"
            yield rows
            with Vertical(id="about-it"):
                yield RunPreview()
                with ScrollPage(id="page"):
                    yield Static(id="about", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(RowList).focus()
        self.query_one(RunPreview).display = False
        self.app.theme_changed_signal.subscribe(self, lambda _: self._show_page(again=True))
        self.poll(LOOK, self._read)
        self.await_rows()
        self.call_after_refresh(self._read)

    def on_screen_suspend(self) -> None:
        self.query_one(RunPreview).stop()

    def on_screen_resume(self) -> None:
        self._read()
        self._draw_soon()

    async def on_unmount(self) -> None:
        if self._store is not None:
            await self._store.close()

    # Reading ------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        if not self._reading:
            self._reading = True
            self.run_worker(self._scan(), name="deck")

    async def _scan(self) -> None:
        """Read the store and the files."""
        fault, runs, seen = "", self._runs, self._durations
        try:
            if self._store is None:
                self._store = await asyncio.to_thread(_store, self.console_app.db)
            # Nothing is written when an owner dies: running runs are read again even if the store is unchanged.
            alive = any(row.state in ("running", "paused") for row in runs)
            self._version, changed_runs = await self._store.read(_runs, UNREAD if alive else self._version)
            runs, seen = changed_runs or (runs, seen)
        except AgentdeckError as error:
            fault, runs, seen, self._version = str(error), [], {}, UNREAD
        recent = dict.fromkeys(
            Path(str(row.source["file"])) for row in runs if str(row.source.get("file", "")).endswith(".yaml")
        )
        changed = await asyncio.to_thread(self._library.scan, list(recent)[:8])
        self._take(runs, seen, fault, changed)

    def _take(self, runs: list[RunRow], seen: dict[str, dict[str, float]], fault: str, changed: bool) -> None:
        self._reading = False
        if not all(self.query(part) for part in ("RowList", "#page", "#about", "RunPreview")):
            return  # the console is being closed
        if fault and fault != self._fault:
            self.notify(clean(fault), title="store", severity="error")
        self._fault = fault
        self._runs, self._past_runs, self._durations = runs, dict(pasts(runs)), seen
        rows = list(self._rows())
        shown = self.query_one(RowList)
        if rows != shown.rows:
            shown.show(rows, self._first_key)
            self._first_key = None
        self._show_page(again=changed)
        self.rows_are_read()

    def _rows(self) -> Iterator[ListRow]:
        from agentdeck.console import summary_text

        alive = [row for row in self._runs if row.state in ALIVE]
        if alive:
            yield ListRow("", (("in progress", "title"),) + (("", ""),) * 3)
        for row in alive[:50]:
            total = summary_text.total_of(row)
            done = f"{100 * row.tasks.done // total} %" if total > 1 else ""
            state = (f"{GLYPHS[row.state]} {row.pause_cause or row.state}", row.state)
            yield ListRow(f"run:{row.run}", ((row.workflow, "text"), state, (done, "text"), (row.run, "dim")))
        for group in (HERE, FOLDER, RECENT, EXAMPLES):
            entries = [entry for entry in self._library.entries.values() if entry.group == group]
            if entries:
                yield ListRow("", ((group, "title"),) + (("", ""),) * 3)
            for entry in entries:
                yield ListRow(str(entry.path), self._cells(entry))

    def _cells(self, entry: WorkflowEntry) -> tuple[tuple[str, str], ...]:
        past = self._past_runs.get(str(entry.path))
        if entry.faults:
            many = f"{entry.faults} fault{'s' * (entry.faults > 1)}"
            return (entry.name, "bad"), (f"{GLYPHS['failed']} {many}", "bad"), ("", ""), ("", "")
        if past is None:
            return (entry.name, "text"), ("", ""), ("", ""), ("", "")
        last = past.last
        state = (f"{GLYPHS.get(last.state, ' ')} {last.pause_cause or last.state}", last.state)
        return (entry.name, "text"), state, (_ago(last.started), "dim"), (past.spark, "accent")

    # The page -----------------------------------------------------------------------------------------------

    def on_row_list_moved(self) -> None:
        self._show_page()

    def _show_page(self, *, again: bool = False) -> None:
        from agentdeck.console import summary_text

        key, styles = self.query_one(RowList).key, role_styles(self.app)
        page, about = self.query_one("#page"), self.query_one("#about", Static)
        width = max(20, page.size.width - 4)
        if key.startswith("run:"):
            row = next((row for row in self._runs if row.run == key[4:]), None)
            if row is not None:
                preview = self.query_one(RunPreview)
                reading = preview.reading if preview.display else ""
                about.update(summary_text.run(row, styles, width, preview.lines, reading))
        elif (again or key != self._shown_key) and (entry := self._entry) is not None:
            before = [row for row in self._runs if row.source.get("file") == str(entry.path)][:6]
            drawn = not self.has_class("narrow")
            seen = self._durations.get(entry.name, {})
            about.update(summary_text.workflow(entry, styles, width, seen, before, drawn=drawn))
        if key != self._shown_key or again:
            self._draw_soon()
        if key != self._shown_key:
            page.scroll_home(animate=False)
        self._shown_key = key

    def _draw_soon(self) -> None:
        """Draw after a moment: not for every row that the cursor passes."""
        if self._draw_timer is not None:
            self._draw_timer.stop()
        self._draw_timer = self.set_timer(SOON, self._draw)

    def _draw(self) -> None:
        """The graph of what is selected, where there is room for it."""
        self._draw_timer = None
        if not self.is_seen:
            return  # another screen covers it: drawn when it is shown again
        entry, preview, key = self._entry, self.query_one(RunPreview), self.query_one(RowList).key
        run = key[4:] if key.startswith("run:") else ""
        definition = entry.definition if entry is not None else None
        preview.display = not self.has_class("narrow") and bool(run or definition)
        if not preview.display:
            preview.stop()
        elif run:
            preview.show_run(self.console_app.db, run)
        elif definition is not None:
            preview.show_workflow(definition)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self._show_page(again=True)

    @property
    def _entry(self) -> WorkflowEntry | None:
        return self._library.entries.get(Path(self.query_one(RowList).key))

    # Actions ------------------------------------------------------------------------------------------------

    def on_row_list_chosen(self) -> None:
        self.action_launch()

    def action_launch(self) -> None:
        key = self.query_one(RowList).key
        if key.startswith("run:"):
            self.console_app.open_run(key[4:])
        elif (entry := self._entry) is not None and entry.definition is not None:
            self._launch(entry.path, entry.definition)
        elif entry is not None:
            self.notify("its faults are listed on the right; e opens the file", title="the workflow is not valid")

    def _launch(self, file: Path, definition: Definition) -> None:
        from agentdeck.console.screens.dialogs import ask
        from agentdeck.console.screens.launch import LaunchScreen
        from agentdeck.operations import engine_process
        from agentdeck.operations.settings import setting, workers

        try:
            most = workers(None, definition, definition.folder or file.parent)
        except AgentdeckError:  # the form says what is wrong with the deck
            most = definition.limits.workers or int(setting("workers").value)
        app = self.console_app
        form = LaunchScreen(definition, file, app.db, most)
        ask(self, form, lambda request: app.start(partial(engine_process.launch, app.db, file, request)))

    def action_edit(self) -> None:
        entry = self._entry
        if entry is None:
            return
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        line = next((issue.line for issue in entry.issues if issue.line), 0)
        place = [f"+{line}"] if line and Path(shlex.split(editor)[0]).name in TAKE_LINE else []
        try:
            with self.app.suspend():
                subprocess.run([*shlex.split(editor), *place, str(entry.path)], check=False)
        except (OSError, ValueError, SuspendNotSupported) as error:
            self.notify(f"{editor}: {error}", title="$EDITOR", severity="error")
        self._read()

    def action_questions(self) -> None:
        from agentdeck.console.screens.questions import QuestionsScreen

        self.app.push_screen(QuestionsScreen())

    def action_letters(self) -> None:
        from agentdeck.console.screens.letters import LettersScreen

        self.app.push_screen(LettersScreen())

    def action_history(self) -> None:
        from agentdeck.console.screens.history import HistoryScreen

        self.app.push_screen(HistoryScreen())

    async def action_leave(self) -> None:
        await self.app.action_quit()

    def offers(self) -> Iterator[PaletteEntry]:
        """For the palette: each workflow, to be selected."""
        rows = self.query_one(RowList)
        for entry in self._library.entries.values():
            select = partial(rows.show, rows.rows, str(entry.path))
            yield PaletteEntry(f"Workflow {entry.name}", f"{entry.path.name}, {entry.group}", select)


def _store(db: Path) -> AsyncReader:
    """In a thread, as the import takes longer than a key may wait."""
    from agentdeck.store.async_reader import AsyncReader

    return AsyncReader(db)


def _runs(reader: Reader, known: int) -> tuple[int, tuple[list[RunRow], dict[str, dict[str, float]]] | None]:
    """The store's version; the newest runs, and the durations of their agents, where it is not the known one."""
    version = reader.version()
    if version == known:
        return version, None
    runs = reader.runs(PAST)
    places = {row.workflow: str(row.source.get("folder", "")) for row in reversed(runs)}
    return version, (runs, {name: reader.durations(name, folder) for name, folder in places.items()})


def _ago(at: float) -> str:
    past = max(0.0, time.time() - at)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if past >= size:
            return f"{past / size:.0f}{unit} ago"
    return "just now"
