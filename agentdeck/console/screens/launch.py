"""Launching a workflow: its inputs with their types, a tasks file, and how many workers; checked as one types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from agentdeck.cli import inputs as given
from agentdeck.cli.pages import plural, seconds
from agentdeck.cli.settings import workers as settle
from agentdeck.cli.tasks import TaskFile
from agentdeck.console import background
from agentdeck.console.look import look_of
from agentdeck.core.clean import clean
from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.insight.plan import plan
from agentdeck.workflow.model import Data, Definition
from agentdeck.workflow.model import Input as Given

LARGE = 50_000_000  # bytes of a tasks file above which it is not counted here


class Launch(ModalScreen[None]):
    """The form of one workflow. What cannot be launched is said below the fields, and Enter then does nothing."""

    CSS = """
    Launch { align: center middle; }
    Launch > Vertical {
        width: 92; max-width: 96%; height: auto; max-height: 94%;
        border: round $primary; border-title-color: $primary; background: $surface; padding: 0 2;
    }
    Launch VerticalScroll { height: auto; max-height: 100%; }
    Launch Label { width: 100%; color: $text-muted; margin-top: 1; }
    Launch Input { border: none; height: 1; padding: 0 1; background: $panel; }
    Launch Input:focus { border: none; background: $boost; }
    Launch #told { margin: 1 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Leave"),
        Binding("ctrl+s,f5", "start", "Start"),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def __init__(self, file: Path, definition: Definition, seen: Mapping[str, float]) -> None:
        super().__init__()
        self.file, self.definition, self.seen = file, definition, seen
        self._count: tuple[str, int] = ("", 1)

    def compose(self) -> ComposeResult:
        definition = self.definition
        with Vertical() as box:
            box.border_title = clean(f"Launch {definition.name}")
            box.border_subtitle = "enter starts · tab next · esc leaves"
            with VerticalScroll(can_focus=False):
                for name, spec in definition.inputs.items():
                    yield Label(_about(name, spec), markup=False)
                    yield Input(_written(spec), id=f"input-{list(definition.inputs).index(name)}", compact=True)
                yield Label("tasks · a .jsonl or .csv file with a task per line; empty is one task", markup=False)
                yield Input(id="tasks", placeholder="one task, made of the inputs above", compact=True)
                yield Label("workers · how many steps at once", markup=False)
                yield Input(str(settle(None, definition.limits.workers)), id="workers", compact=True)
            yield Static(id="told", markup=False)

    def on_mount(self) -> None:
        self._tell()

    def on_input_changed(self) -> None:
        self._tell()

    def on_input_submitted(self) -> None:
        self.action_start()

    def action_start(self) -> None:
        try:
            inputs, tasks, workers, _ = self._read()
        except UsageError as error:
            self.notify(clean(str(error)), severity="error", markup=False)
            return
        app = self.app
        engine = background.launch(
            app.db,  # type: ignore[attr-defined]
            self.file,
            inputs,
            tasks=tasks,
            workers=workers,
        )
        self.dismiss()
        app.started(engine)  # type: ignore[attr-defined]

    def _tell(self) -> None:
        look, text = look_of(self.app), Text()
        try:
            _, _, workers, count = self._read()
        except UsageError as error:
            text.append("✗ " + clean(str(error)), look["bad"])
        else:
            made = plan(self.definition, workers, count, self.seen)
            text.append(f"{plural(count, 'task')} at {plural(workers, 'worker')}", look["text"])
            text.append(f"  ·  at least {seconds(made.lower_bound)}", look["good"])
            text.append(f", one after another {seconds(made.sequential)}", look["dim"])
            for verb in ("command", "python", "http", "prompt"):
                if named := made.named(verb):
                    text.append(f"\nruns {verb}  ", look["dim"])
                    text.append(clean(", ".join(named[:3]))[:80], look["warn"])
        self.query_one("#told", Static).update(text)

    def _read(self) -> tuple[dict[str, Data], Path | None, int, int]:
        """What the fields say: inputs, tasks file, workers, number of tasks. Raises UsageError."""
        definition, inputs = self.definition, dict[str, Data]()
        for index, (name, spec) in enumerate(definition.inputs.items()):
            text = self.query_one(f"#input-{index}", Input).value
            if text == _written(spec) and not spec.required:
                continue
            if not text and spec.required:
                continue
            try:
                inputs[name] = given.read(text, spec.type)
            except ValueError as error:
                raise UsageError(f"{name}: {error}") from None
        try:
            workers = int(self.query_one("#workers", Input).value)
        except ValueError:
            raise UsageError("workers is a whole number") from None
        if not 1 <= workers <= 10_000:
            raise UsageError(f"workers={workers} is out of range: 1 to 10000")
        wanted = self.query_one("#tasks", Input).value.strip()
        if not wanted:
            missing = given.lacking(definition, inputs)
            if missing:
                raise UsageError(f"still needed: {', '.join(missing)}")
            return inputs, None, workers, 1
        path = Path(wanted).expanduser()
        return inputs, path, workers, self._tasks(path, inputs)

    def _tasks(self, path: Path, inputs: Mapping[str, Data]) -> int:
        try:
            status = path.stat()
            if not path.is_file():
                raise UsageError(f"{path} is not a file")
            if status.st_size > LARGE:
                return 1
            key = f"{path}:{status.st_mtime_ns}:{sorted(inputs)}"
            if self._count[0] != key:
                self._count = key, sum(1 for _ in TaskFile(str(path), self.definition, inputs))
            return self._count[1]
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from None
        except AgentdeckError as error:
            raise UsageError(str(error)) from None


def _about(name: str, spec: Given) -> str:
    choices = f" {', '.join(map(str, spec.type.choices))}" if spec.type.choices else ""
    needed = " · needed" if spec.required else ""
    about = f" · {spec.about}" if spec.about else ""
    return clean(f"{name} · {spec.type.kind}{choices}{needed}{about}")


def _written(spec: Given) -> str:
    """A default as one would type it."""
    if spec.required or spec.default is None:
        return ""
    value = spec.default
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
