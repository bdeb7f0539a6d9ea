"""The launch form: inputs, tasks and limits of one workflow, with a forecast beside them.

The limits that were changed can be saved in the workflow's file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Select, Static

from agentdeck.console import summary_text
from agentdeck.console.actions import bindings
from agentdeck.console.form_fields import TextEntry, about, field_of, shown_value, typed_text
from agentdeck.console.screens.base import ScrollPage
from agentdeck.console.screens.launch_form import Checked, LaunchForm
from agentdeck.console.state_style import role_styles
from agentdeck.errors import AgentdeckError
from agentdeck.insight.launch_forecast import Used, forecast_launch, prompting, used_by
from agentdeck.operations.engine_process import LaunchRequest
from agentdeck.operations.overrides import override
from agentdeck.operations.workflow_file_edit import save
from agentdeck.scheduler.order_search import BRIEFLY, search_order
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.reader import Reader, means
from agentdeck.terminal_text import clean
from agentdeck.workflow.model import Data, Definition
from agentdeck.workflow.place_types import with_slots


class LaunchScreen(ModalScreen[LaunchRequest]):
    """Dismissed with an LaunchRequest, or None. Every field is checked as it is typed; the outlook follows."""

    DEFAULT_CSS = """
    LaunchScreen { align: center middle; }
    LaunchScreen > Vertical { width: 96%; height: 94%; max-width: 150; border: round $primary; padding: 0 1;
        background: $surface; }
    LaunchScreen Horizontal.body { height: 1fr; }
    LaunchScreen #form { width: 3fr; padding-right: 1; }
    LaunchScreen #outlook { width: 2fr; min-width: 34; padding: 0 1; border-left: solid $panel-lighten-2; }
    LaunchScreen .row { height: auto; }
    LaunchScreen .row Label { width: 18; padding: 0 1 0 0; text-align: right; }
    LaunchScreen .row Input, LaunchScreen .row Select { width: 1fr; }
    LaunchScreen .row Input { background: $panel; }
    LaunchScreen .row Input.short { width: 10; }
    LaunchScreen .row Label.unit { width: 12; text-align: left; color: $text-muted; padding: 0 1 0 1; }
    LaunchScreen .note { height: auto; padding-left: 18; color: $text-muted; }
    LaunchScreen .note.wrong { color: $error; text-style: bold; }
    LaunchScreen .head { color: $primary; text-style: bold; padding-top: 1; }
    LaunchScreen #foot { height: 1; align-horizontal: right; dock: bottom; }
    LaunchScreen #foot Button { margin-left: 2; }
    LaunchScreen.narrow Horizontal.body { layout: vertical; }
    LaunchScreen.narrow .row Label { width: 14; }
    LaunchScreen.narrow .row Label.unit { width: 11; }
    LaunchScreen.narrow .note { padding-left: 14; }
    LaunchScreen.narrow #form { width: 100%; height: 3fr; }
    LaunchScreen.narrow #outlook { width: 100%; height: 2fr; border-left: none;
        border-top: solid $panel-lighten-2; }
    """
    BINDINGS = bindings("launch")

    def __init__(self, definition: Definition, file: Path, db: Path, at_once: int) -> None:
        super().__init__()
        self.definition = definition
        self.file = file
        self.db = db
        self.form = LaunchForm(definition, file, at_once)
        self.checked = Checked()
        self._samples: dict[str, list[float]] = {}
        self._seen: dict[str, float] = {}
        self._used: dict[str, Used] = {}

    # The rows ------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        with Vertical() as frame:
            frame.border_title = f"launch {clean(self.definition.name)}"
            with Horizontal(classes="body"):
                with ScrollPage(id="form", can_focus=False):
                    yield from self._inputs()
                    yield from self._tasks()
                    yield from self._limits()
                with ScrollPage(id="outlook", can_focus=False):
                    yield Static(id="forecast", markup=False)
            with Horizontal(id="foot"):
                yield Button("Back  esc", id="back", compact=True)
                yield Button("Save limits to file  ctrl+s", id="save", compact=True)
                yield Button("Launch  ctrl+r", id="launch", variant="primary", compact=True)

    def _inputs(self) -> Iterator[Horizontal | Static | Label]:
        if self.definition.inputs:
            yield Label("inputs", classes="head")
        for name, spec in self.definition.inputs.items():
            label = Label(Text(clean(name) + (" *" if spec.required else "")))
            key = self.form.inputs[name]
            yield Horizontal(label, field_of(key, spec.type, spec.default), classes="row")
            yield Static(Text(about(spec)), id=f"note-{key}", classes="note")

    def _tasks(self) -> Iterator[Horizontal | Static | Label]:
        yield Label("tasks", classes="head")
        beside = sorted(self.file.parent.glob("*.jsonl"))
        example = f"file, for instance {clean(beside[0].name)}" if beside else ".jsonl, .csv file"
        field = TextEntry(placeholder=f"one task; or a {example}", id="tasks", compact=True)
        yield Horizontal(Label("tasks file"), field, classes="row")
        yield Static("", id="note-tasks", classes="note", markup=False)

    def _limits(self) -> Iterator[Horizontal | Static | Label]:
        yield Label("limits", classes="head")
        yield Static("", id="note-deck", classes="note", markup=False)
        workers = TextEntry(str(self.form.workers), id="workers", classes="short", compact=True)
        yield Horizontal(Label("workers"), workers, Label("at once", classes="unit"), classes="row")
        yield Static("", id="note-workers", classes="note", markup=False)
        for row in self.form.limits:
            fields = list[TextEntry | Label]()
            for limit in row.fields:
                fields.append(TextEntry(limit.text, id=limit.id, classes="short", compact=True))
                fields.append(Label(limit.unit, classes="unit"))
            yield Horizontal(Label(Text(clean(row.name))), *fields, classes="row")
            yield Static("", id=f"note-{row.id}", classes="note", markup=False)
        if left := self.form.agents_left_out:
            yield Static(f"and {left} more agents: change their limits in the run", classes="note")

    def on_mount(self) -> None:
        for note in self.query(".note").results(Static):
            note.display = note.id is None or note.id.startswith("note-input")
        self.query("#form Input").first().focus()
        self._check_all()
        self.run_worker(self._read_history(), name="history", group="history")

    def on_resize(self) -> None:
        self.set_class(self.size.width < 112, "narrow")

    # Checking ------------------------------------------------------------------------------------------------

    @on(Input.Changed)
    @on(Select.Changed)
    def _check_all(self) -> None:
        checked = self.checked = self.form.check(self._text)
        tasks = self.query_one("#note-tasks", Static)
        tasks.display = bool(checked.note)
        tasks.update(Text(checked.note))
        for row in self.form.rows:
            self._show_fault(row)
        faulty = bool(checked.faults)
        self.query_one("#launch", Button).disabled = faulty
        self.query_one("#save", Button).disabled = faulty or not self._changed_limits()
        self._look_ahead()

    @on(Input.Submitted)
    def _next(self) -> None:
        self.focus_next()

    def _changed_limits(self) -> dict[str, Data]:
        return self.form.changed_limits(self._text("workers"), self.checked)

    def _text(self, name: str) -> str:
        return typed_text(self.query_one(f"#{name}"))

    def _show_fault(self, row: str) -> None:
        """Show the fault of a row below it, or what was there before."""
        found = self.query(f"#note-{row}")
        if not found:
            return
        note, fault = found.first(Static), self.checked.faults.get(row, "")
        if not fault and not note.has_class("wrong"):
            return
        note.set_class(bool(fault), "wrong")
        if fault:
            note.display = True
            note.update(Text("✗ " + clean(fault)))
        elif row.startswith("input-"):
            name = next(name for name, key in self.form.inputs.items() if key == row)
            note.update(Text(about(self.definition.inputs[name])))
        else:
            note.display = row == "tasks" and bool(self._text("tasks").strip())

    # The forecast --------------------------------------------------------------------------------------------

    async def _read_history(self) -> None:
        """Base the forecast on the durations and costs of earlier runs, where there are any."""
        name = self.definition.name
        try:
            async with AsyncReader(self.db) as store:
                self._samples = await store.read(Reader.samples, name, str(self.form.folder))
                elsewhere = await store.read(Reader.seconds_elsewhere, self.definition, str(self.form.folder))
                self._seen = elsewhere | means(self._samples)
                rows = await store.read(Reader.runs, workflow=name, limit=10)
        except AgentdeckError:
            return
        for row in rows:
            if row.summary and row.tasks.total and not self._used:
                self._used = used_by(row.summary, row.tasks.total)
        if self._seen or self._used:
            self._look_ahead()

    @work(thread=True, exclusive=True, group="outlook")
    def _look_ahead(self) -> None:
        workers = self._text("workers")
        if "workers" in self.checked.faults:
            return
        try:
            settings = [f"{name}={value}" for name, value in self.checked.settings.items()]
            definition = with_slots(override(self.definition, settings), self.form.deck)
            asks = prompting(definition, self.form.deck, self.checked.count, self._used)
            order = () if self._text("tasks").strip() else self._order(definition, int(workers))
            seen = forecast_launch(definition, int(workers), self.checked.count, self._seen, asks, order)
            forecast = summary_text.launch(seen, role_styles(self.app))
        except AgentdeckError as error:
            forecast = Text(clean(str(error)))
        self.app.call_from_thread(self._show_forecast, forecast)

    def _order(self, definition: Definition, workers: int) -> tuple[str, ...]:
        """The order in which a launch of one task starts its steps, searched as briefly as the launch does."""
        until = perf_counter() + BRIEFLY
        found = search_order(definition, self._samples, workers, "plan", lambda: perf_counter() < until)
        return found.agents

    def _show_forecast(self, forecast: Text) -> None:
        if self.is_attached:
            self.query_one("#forecast", Static).update(forecast)

    # Leaving -------------------------------------------------------------------------------------------------

    @on(Button.Pressed, "#launch")
    def action_launch(self) -> None:
        """Launch; where a field is faulty, name the first of these and focus it."""
        if self.checked.faults:
            row, fault = next(iter(self.checked.faults.items()))
            text = clean(f"{self.form.name_of(row)}: {fault}")
            self.notify(text, severity="error", title="not launched")
            if field := self.query(f"#{self.checked.faulty_fields.get(row, row)}"):
                field.first().focus()
            return
        texts = {name: self._text(key) for name, key in self.form.inputs.items()}
        specs = self.definition.inputs
        given = {n: text for n, text in texts.items() if text != shown_value(specs[n].default, specs[n].type)}
        tasks = self._text("tasks").strip()
        file = self.form.tasks_path(tasks) if tasks else None
        self.dismiss(LaunchRequest(given, file, int(self._text("workers")), dict(self.checked.settings)))

    @on(Button.Pressed, "#save")
    def action_save(self) -> None:
        """Save the changed limits in the file. Its comments stay."""
        found = {} if self.checked.faults else self._changed_limits()
        if not found:
            self.notify("no limit was changed", severity="warning")
            return
        try:
            save(self.file, found)
        except (AgentdeckError, OSError, UnicodeDecodeError) as error:
            self.notify(clean(str(error)), severity="error", title="not saved")
            return
        self.notify(clean(f"{self.file.name}: {', '.join(found)}"), title="saved")

    @on(Button.Pressed, "#back")
    def _back(self) -> None:
        self.dismiss(None)
