"""The launch form: inputs, tasks and limits of one workflow, and beside them what that would be like.

What is typed can be launched, and its limits can be written into the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Select, Static

from agentdeck.console.editable_limits import asked, budget_of, caps_as_text, deck_of, limits_of, looser, turned
from agentdeck.console.forecast_text import describe
from agentdeck.console.screens.fields import about, field_of, shown_value
from agentdeck.console.state_style import look_of
from agentdeck.console.text_entry import Entry
from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.insight.launch_forecast import forecast_launch
from agentdeck.insight.prompt_forecast import Used, prompting, used_by
from agentdeck.limits.provider_limits import caps_of
from agentdeck.operations.engine_process import LaunchRequest
from agentdeck.operations.inputs import missing_inputs, read
from agentdeck.operations.overrides import override
from agentdeck.operations.task_files import TaskFile
from agentdeck.operations.workflow_file_edit import save
from agentdeck.store.reader import Reader
from agentdeck.terminal_text import clean
from agentdeck.workflow.model import SLOTLESS, Data, Definition

#: Of so many agents the limits can be changed here; of more, one by one while the run executes.
MOST = 40
PREVIEWED = 3
#: Bytes of a tasks file above which it is not read here.
LARGE = 20_000_000


class LaunchScreen(ModalScreen[LaunchRequest | None]):
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
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r,f5", "launch", "Launch"),
        Binding("ctrl+s", "save", "Save to file"),
        Binding("escape", "dismiss_none", "Back"),
    ]

    def __init__(self, definition: Definition, file: Path, db: Path, at_once: int) -> None:
        super().__init__()
        self.definition = definition
        self.file = file
        self.db = db
        self.at_once = at_once
        self.folder = (definition.folder or file.parent).resolve()
        self.faults: dict[str, str] = {}
        self.count = 1
        self._input = {name: f"input-{i}" for i, name in enumerate(definition.inputs)}
        turned = [a for a in definition.agents.values() if a.does.verb not in SLOTLESS]
        self._agents = {agent.name: f"set-{i}" for i, agent in enumerate(turned[:MOST])}
        self._beyond = max(0, len(turned) - MOST)
        self._deck, self._deck_fault = deck_of(self.folder)
        self._caps = caps_of(self._deck, definition)
        self._providers = {name: f"cap-{i}" for i, name in enumerate(asked(definition, self._deck))}
        self._settings: dict[str, str] = {}
        self._wrong: dict[str, str] = {}  # row: the field in it that has the fault
        self._known: tuple[str, int] = ("", 1)
        self._seen: dict[str, float] = {}
        self._used: dict[str, Used] = {}

    # What is on it -------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        with Vertical() as frame:
            frame.border_title = f"launch {clean(self.definition.name)}"
            with Horizontal(classes="body"):
                with VerticalScroll(id="form", can_focus=False):
                    yield from self._inputs()
                    yield from self._tasks()
                    yield from self._limits()
                with VerticalScroll(id="outlook", can_focus=False):
                    yield Static(id="told", markup=False)
            with Horizontal(id="foot"):
                yield Button("Back  esc", id="back", compact=True)
                yield Button("Save limits to file  ctrl+s", id="save", compact=True)
                yield Button("Launch  ctrl+r", id="launch", variant="primary", compact=True)

    def _inputs(self) -> Iterator[Horizontal | Static | Label]:
        if self.definition.inputs:
            yield Label("inputs", classes="head")
        for name, spec in self.definition.inputs.items():
            label = Label(Text(clean(name) + (" *" if spec.required else "")))
            key = self._input[name]
            yield Horizontal(label, field_of(key, spec.type, spec.default), classes="row")
            yield Static(Text(about(spec)), id=f"note-{key}", classes="note")

    def _tasks(self) -> Iterator[Horizontal | Static | Label]:
        yield Label("tasks", classes="head")
        beside = sorted(self.file.parent.glob("*.jsonl"))
        hint = (
            f"one task; or a file, for instance {clean(beside[0].name)}"
            if beside
            else "one task; or a .jsonl, .csv file"
        )
        yield Horizontal(Label("tasks file"), Entry(placeholder=hint, id="tasks", compact=True), classes="row")
        yield Static("", id="note-tasks", classes="note", markup=False)

    def _limits(self) -> Iterator[Horizontal | Static | Label]:
        yield Label("limits", classes="head")
        yield Static("", id="note-deck", classes="note", markup=False)
        workers = Entry(str(self.at_once), id="workers", classes="short", compact=True)
        yield Horizontal(Label("workers"), workers, Label("at once", classes="unit"), classes="row")
        yield Static("", id="note-workers", classes="note", markup=False)
        if self._providers or self.definition.budget is not None:
            fields = []
            for setting, now, unit in budget_of(self.definition):
                fields += [
                    Entry(now, id=f"budget-{setting}", classes="short", compact=True),
                    Label(unit, classes="unit"),
                ]
            yield Horizontal(Label("budget"), *fields, classes="row")
            yield Static("", id="note-budget", classes="note", markup=False)
        for name, key in self._providers.items():
            fields = []
            for setting, now, unit in caps_as_text(self._caps[name]):
                fields += [
                    Entry(now, id=f"{key}-{setting}", classes="short", compact=True),
                    Label(unit, classes="unit"),
                ]
            yield Horizontal(Label(Text(clean(name))), *fields, classes="row")
            yield Static("", id=f"note-{key}", classes="note", markup=False)
        for name, key in self._agents.items():
            fields = []
            for setting, now, unit in limits_of(self.definition.agents[name]):
                text = Entry(now, id=f"{key}-{setting}", classes="short", compact=True)
                fields += [text, Label(unit, classes="unit")]
            yield Horizontal(Label(Text(clean(name))), *fields, classes="row")
            yield Static("", id=f"note-{key}", classes="note", markup=False)
        if self._beyond:
            yield Static(f"and {self._beyond} more agents: turn theirs in the run", classes="note")

    def on_mount(self) -> None:
        for note in self.query(".note").results(Static):
            note.display = note.id is None or note.id.startswith("note-input")
        first = self.query("#form Input").first()
        first.focus()
        self._recall()
        self._check_all()

    def on_resize(self) -> None:
        self.set_class(self.size.width < 112, "narrow")

    # What is typed -------------------------------------------------------------------------------------------

    @on(Input.Changed)
    @on(Select.Changed)
    def _typed(self, event: Input.Changed | Select.Changed) -> None:
        self._check_all()

    @on(Input.Submitted)
    def _next(self) -> None:
        self.focus_next()

    def _check_all(self) -> None:
        faults: dict[str, str] = {}
        values: dict[str, Data] = {}
        for name, spec in self.definition.inputs.items():
            text = self._text(self._input[name])
            if text == "" and not (spec.type.kind == "string" and not spec.required):
                continue
            try:
                values[name] = read(text, spec.type)
            except ValueError as error:
                faults[self._input[name]] = str(error)
        self.count = self._count(values, faults)
        self._settings = self._changed(faults)
        workers = self._text("workers")
        if not workers.isdecimal() or not 1 <= int(workers) <= 10_000:
            faults["workers"] = "a whole number, 1 to 10000"
        if self._deck_fault:
            faults["deck"] = self._deck_fault
        self.faults = faults
        rows = (*self._providers.values(), *self._agents.values())
        for what in (*self._input.values(), "tasks", "deck", "workers", "budget", *rows):
            self._say(what)
        self.query_one("#launch", Button).disabled = bool(faults)
        self.query_one("#save", Button).disabled = bool(faults) or not self._turned()
        self._look_ahead()

    def _count(self, values: dict[str, Data], faults: dict[str, str]) -> int:
        """How many tasks there are, and a note of the first of them."""
        name = self._text("tasks").strip()
        if not name:
            for missing in missing_inputs(self.definition, values):
                faults.setdefault(self._input[missing], "is needed")
            self._note("tasks", "")
            return 1
        path = self._path(name)
        known = f"{path} {path.stat().st_mtime_ns if path.is_file() else 0} {sorted(values)}"
        if self._known[0] == known:
            return self._known[1]
        if path.is_file() and path.stat().st_size > LARGE:
            self._note("tasks", "a large file: its tasks are counted when it is launched")
            return 1
        try:
            file = TaskFile(str(path), self.definition, values)
            count = file.count()
            rows = [json.dumps(task, ensure_ascii=False) for task in islice(file, PREVIEWED)]
        except AgentdeckError as error:
            faults["tasks"] = str(error)
            return 1
        self._known = known, count
        self._note("tasks", "\n".join([f"{count:,} tasks", *(clean(row)[:100] for row in rows)]))
        return count

    def _fields(self) -> Iterator[tuple[str, str, str, str]]:
        """(widget, name of the setting, value before, row) of every limit but the workers."""
        for setting, now, _ in budget_of(self.definition) if self.query("#note-budget") else ():
            yield f"budget-{setting}", f"budget.{setting}", now, "budget"
        for provider, key in self._providers.items():
            for setting, now, _ in caps_as_text(self._caps[provider]):
                yield f"{key}-{setting}", f"{provider}.{setting}", now, key
        for name, key in self._agents.items():
            for setting, now, _ in limits_of(self.definition.agents[name]):
                long = f"agents.{name}.{setting.replace('attempts', 'retry')}"
                yield f"{key}-{setting}", long, now, key

    def _changed(self, faults: dict[str, str]) -> dict[str, str]:
        """The settings that differ from the file."""
        changed: dict[str, str] = {}
        self._wrong = {}
        for widget, name, now, row in self._fields():
            text = self._text(widget).strip()
            if text == now:
                continue
            try:
                override(self.definition, [f"{name}={text or 'none'}"])
                if row in self._providers.values() and looser(text, now):
                    raise UsageError(f": the deck allows {now}; more of it is set there")
                changed[name] = text or "none"
            except AgentdeckError as error:
                faults.setdefault(row, str(error).partition(": ")[2] or str(error))
                self._wrong.setdefault(row, widget)
        return changed

    def _turned(self) -> dict[str, Data]:
        """The limits that differ from the file."""
        workers = self._text("workers")
        changed: dict[str, Data] = {} if workers == str(self.at_once) else {"workers": int(workers)}
        return changed | turned(self.definition, self._settings)

    def _text(self, name: str) -> str:
        widget = self.query_one(f"#{name}")
        if isinstance(widget, Select):
            return "" if widget.is_blank() else str(widget.value)
        assert isinstance(widget, Input)
        return widget.value

    def _path(self, name: str) -> Path:
        given = Path(name).expanduser()
        beside = self.file.parent / given
        return beside if not given.exists() and beside.exists() else given

    def _say(self, what: str) -> None:
        found = self.query(f"#note-{what}")
        if not found:
            return
        note, fault = found.first(Static), self.faults.get(what, "")
        if note.has_class("wrong") == bool(fault) and not fault:
            return
        note.set_class(bool(fault), "wrong")
        if fault:
            note.display = True
            note.update(Text("✗ " + clean(fault)))
        elif what.startswith("input-"):
            name = next(name for name, key in self._input.items() if key == what)
            note.update(Text(about(self.definition.inputs[name])))
        else:
            note.display = what == "tasks" and bool(self._text("tasks").strip())

    def _note(self, what: str, text: str) -> None:
        note = self.query_one(f"#note-{what}", Static)
        note.display = bool(text)
        note.update(Text(text))

    # What it would be like -----------------------------------------------------------------------------------

    def _recall(self) -> None:
        """Durations and costs of earlier runs."""
        if not self.db.exists():
            return
        try:
            reader = Reader(self.db)
        except AgentdeckError:
            return
        try:
            self._seen = reader.durations(self.definition.name, str(self.folder))
            for row in reader.runs(workflow=self.definition.name, limit=10):
                if row.summary and row.tasks.total and not self._used:
                    self._used = used_by(row.summary, row.tasks.total)
        except AgentdeckError:
            pass
        finally:
            reader.close()

    @work(thread=True, exclusive=True, group="outlook")
    def _look_ahead(self) -> None:
        workers = self._text("workers")
        if "workers" in self.faults:
            return
        told: Text
        try:
            settings = [f"{name}={value}" for name, value in self._settings.items()]
            definition = override(self.definition, settings)
            asks = prompting(definition, self._deck, self.count, self._used)
            seen = forecast_launch(definition, int(workers), self.count, self._seen, asks)
            told = describe(seen, look_of(self.app))
        except AgentdeckError as error:
            told = Text(clean(str(error)))
        self.app.call_from_thread(self._tell, told)

    def _tell(self, told: Text) -> None:
        if self.is_attached:
            self.query_one("#told", Static).update(told)

    # Leaving -------------------------------------------------------------------------------------------------

    @on(Button.Pressed, "#launch")
    def action_launch(self) -> None:
        if self.faults:
            self._to_fault()
            return
        texts = {name: self._text(key) for name, key in self._input.items()}
        given = {
            name: text
            for name, text in texts.items()
            if text != shown_value(self.definition.inputs[name].default, self.definition.inputs[name].type)
        }
        tasks = self._text("tasks").strip()
        file = self._path(tasks) if tasks else None
        self.dismiss(LaunchRequest(given, file, int(self._text("workers")), dict(self._settings)))

    def _to_fault(self) -> None:
        """Name the first field that is wrong, and go there."""
        rows = (*self._input.items(), *self._providers.items(), *self._agents.items())
        named = {key: name for name, key in rows}
        key, fault = next(iter(self.faults.items()))
        name = "tasks file" if key == "tasks" else named.get(key, key)
        self.notify(clean(f"{name}: {fault}"), severity="error", title="not launched", markup=False)
        field = self.query(f"#{self._wrong.get(key, key)}")
        if field:
            field.first().focus()

    @on(Button.Pressed, "#save")
    def action_save(self) -> None:
        """Write the limits that were changed into the file, whose comments stay."""
        found = {} if self.faults else self._turned()
        if not found:
            self.notify("no limit was changed", severity="warning")
            return
        try:
            save(self.file, found)
        except (AgentdeckError, OSError, UnicodeDecodeError) as error:
            self.notify(clean(str(error)), severity="error", title="not saved", markup=False)
            return
        self.notify(clean(f"{self.file.name}: {', '.join(found)}"), title="saved", markup=False)

    @on(Button.Pressed, "#back")
    def action_dismiss_none(self) -> None:
        self.dismiss(None)
