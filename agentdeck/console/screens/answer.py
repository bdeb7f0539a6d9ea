"""The form of an approval or of a question: what is asked and shown, its fields, and the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from agentdeck.console.actions import bindings
from agentdeck.console.form_fields import field_of, typed_text
from agentdeck.console.outline import OutlineItem, OutlineView, outline, prose
from agentdeck.console.screens.base import ScrollPage
from agentdeck.engine.author import current_author
from agentdeck.errors import AgentdeckError
from agentdeck.operations.inputs import read
from agentdeck.operations.questions import StepQuestion
from agentdeck.scheduler.approvals import required
from agentdeck.terminal_text import clean
from agentdeck.views.step_story import StepStory
from agentdeck.workflow.model import Data


class GivenAnswer(NamedTuple):
    """An answer, with the values of its fields."""

    approved: bool
    fields: dict[str, Data]


class AnswerForm(ModalScreen[GivenAnswer]):
    """Dismissed with the answer, or None. `story` reads what an approval asks, with its values filled in."""

    DEFAULT_CSS = """
    AnswerForm { align: center middle; }
    AnswerForm > Vertical { width: 90%; max-width: 110; height: auto; max-height: 92%; border: round $primary;
        background: $surface; padding: 0 1; border-title-color: $primary; }
    AnswerForm OutlineView { height: 3; }
    AnswerForm VerticalScroll { height: auto; max-height: 12; margin-top: 1; }
    AnswerForm .row { height: auto; }
    AnswerForm .row Label { width: 20; padding-right: 1; text-align: right; }
    AnswerForm .row Input, AnswerForm .row Select { width: 1fr; }
    AnswerForm Input { background: $panel; }
    AnswerForm .note { height: 1; padding-left: 20; color: $error; display: none; }
    AnswerForm #foot { height: 1; align-horizontal: right; }
    AnswerForm #signed { height: 1; margin-top: 1; color: $text-muted; text-align: right; }
    AnswerForm #foot Button { margin-left: 2; }
    """
    BINDINGS = bindings("answer")

    def __init__(
        self, task: str, step: str, question: StepQuestion, story: Callable[[], Awaitable[StepStory]]
    ) -> None:
        super().__init__()
        does, self._own, self._shown = question
        self._of = f"{step} of task {task} {'asks' if self._own else 'asks for approval'}"
        self._does, self._story = does, story
        self._keys = {name: f"field-{at}" for at, name in enumerate(does.fields)}
        self.sheet = OutlineView(list(prose(clean(does.ask, lines=True), 0)))

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = clean(self._of)
            yield self.sheet
            if self._does.fields:
                with ScrollPage(can_focus=False):
                    for name, kind in self._does.fields.items():
                        key = self._keys[name]
                        default = self._does.defaults.get(name)
                        label = name if name in self._does.defaults else f"{name} *"
                        yield Horizontal(Label(Text(clean(label))), field_of(key, kind, default), classes="row")
                        yield Static(id=f"note-{key}", classes="note", markup=False)
            author = f"recorded with the author {current_author('console').text}"
            yield Static(clean(author), id="signed", markup=False)
            with Horizontal(id="foot"):
                yield Button("Not now  esc", id="later", compact=True)
                if not self._own:
                    yield Button("Reject  ctrl+n", id="reject", variant="error", compact=True)
                word = "Answer" if self._own else "Approve"
                yield Button(f"{word}  ctrl+y", id="approve", variant="success", compact=True)

    def on_mount(self) -> None:
        fields = self.query("Input, Select")
        (fields.first() if fields else self.query_one("#later")).focus()
        self.run_worker(self._fill(), exclusive=True)

    async def _fill(self) -> None:
        """What it asks, with the values it asks about."""
        try:
            own: dict[str, Data] = {"asks": self._does.ask, "shows": self._shown}
            asked = own if self._own else (await self._story()).asked
        except AgentdeckError:
            return
        items: list[OutlineItem] = []
        for name in ("asks", "shows"):
            value = asked.get(name)
            if isinstance(value, str):
                items += [*([OutlineItem()] if items else []), *prose(clean(value, lines=True), 0)]
            elif value is not None:
                items += [OutlineItem(), *outline(value, 0, name)]
        if items:
            self.sheet.show(items)
            width = max(20, self.sheet.size.width - 4)
            lines = sum(1 + len(item.text) // width for item in items)
            self.sheet.styles.height = max(2, min(lines, self.size.height // 2))

    def _values(self) -> dict[str, Data] | None:
        """What was typed, by its types. None, with a note at each fault, where it does not fit."""
        values: dict[str, Data] = {}
        needed, defaults, sound = required(self._does), self._does.defaults, True
        for name, kind in self._does.fields.items():
            key, fault = self._keys[name], ""
            text = typed_text(self.query_one(f"#{key}"))
            try:
                if text == "":
                    fault = f"{name} is required" if name in needed else ""
                elif (value := read(text, kind)) != defaults.get(name) or name not in defaults:
                    values[name] = value  # an untouched default is recorded as a default
            except ValueError as error:
                fault = str(error)
            note = self.query_one(f"#note-{key}", Static)
            note.update(clean(fault))
            note.display = bool(fault)
            sound = sound and not fault
        return values if sound else None

    @on(Input.Submitted)
    def _next(self) -> None:
        self.focus_next()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "later":
            self.dismiss(None)
        else:
            self._answer(event.button.id == "approve")

    def _answer(self, approved: bool) -> None:
        values = self._values()
        if values is not None:
            self.dismiss(GivenAnswer(approved, values))

    def action_approve(self) -> None:
        self._answer(True)

    def action_reject(self) -> None:
        if not self._own:
            self._answer(False)
