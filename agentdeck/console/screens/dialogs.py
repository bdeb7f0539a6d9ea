"""Small dialogs: a question with choices, a line of text to type, a sentence that is kept up to date, help."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, Static

from agentdeck.console.actions import bindings
from agentdeck.console.form_fields import TextEntry
from agentdeck.console.screens.base import ScrollPage
from agentdeck.console.state_style import role_styles
from agentdeck.operations.actions import BY_ID, of
from agentdeck.terminal_text import clean

T = TypeVar("T")

AGAIN = 0.5  # seconds after which a sentence is made again
CHOICES = {action.keys[0]: action for action in of("choice")}


class Choice(NamedTuple):
    """`value` is what the screen answers with. `key` chooses it at once: the default key of a `choice` action."""

    value: str
    key: str
    title: str
    help: str = ""
    danger: bool = False


class Confirm(ModalScreen[str]):
    """A question with its choices. Escape answers with nothing (""). The cursor begins on the first choice, so
    what harms is never first."""

    DEFAULT_CSS = """
    Confirm { align: center middle; }
    Confirm > Vertical {
        width: auto; min-width: 44; max-width: 90%; height: auto; max-height: 90%;
        border: round $primary; background: $surface; padding: 1 2;
    }
    Confirm.danger > Vertical { border: round $error; }
    Confirm Static { width: auto; max-width: 100%; }
    """
    BINDINGS = bindings("confirm")

    def __init__(self, title: str, touches: Sequence[str], choices: Sequence[Choice]) -> None:
        super().__init__()
        self.title_text = clean(title)
        self._own_keys = dict(self._bindings.key_to_bindings)
        self._set(touches, choices)

    def _set(self, touches: Sequence[str], choices: Sequence[Choice]) -> None:
        self.touches = [clean(line) for line in touches]
        self.choices = list(choices)
        self.cursor = 0
        self.set_class(any(choice.danger for choice in choices), "danger")
        self._bindings.key_to_bindings = dict(self._own_keys)
        for at, choice in enumerate(self.choices):
            take = Binding(choice.key, f"take({at})", choice.title, show=False, id=CHOICES[choice.key].id)
            self._bindings.key_to_bindings[choice.key] = [take]  # before a key that moves the cursor

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(id="question", markup=False)
            yield Static(id="choices", markup=False)

    def on_mount(self) -> None:
        self._draw_question()

    def change(self, touches: Sequence[str], choices: Sequence[Choice]) -> None:
        """Show other lines and choices: what the question is about has changed."""
        self._set(touches, choices)
        self._draw_question()

    def _draw_question(self) -> None:
        styles = role_styles(self.app)
        text = Text(self.title_text, styles["title"])
        for line in self.touches:
            text.append("\n" + line, styles["text"])
        self.query_one("#question", Static).update(text)
        self._draw()

    def _draw(self) -> None:
        styles, text = role_styles(self.app), Text()
        long = max(cell_len(choice.title) for choice in self.choices)
        room = self.app.size.width * 9 // 10 - 8
        keys: dict[str, str] = {}
        for active in self.active_bindings.values():
            keys.setdefault(active.binding.action, self.app.get_key_display(active.binding))
        beside = all(long + 7 + cell_len(choice.help) <= room for choice in self.choices)
        for index, choice in enumerate(self.choices):
            style = styles.cursor if index == self.cursor else styles["bad" if choice.danger else "text"]
            text.append(f"\n {keys[f'take({index})']}  {choice.title} ", style)
            if choice.help:
                gap = " " * (long - cell_len(choice.title) + 2) if beside else "\n      "
                cut = not beside and cell_len(choice.help) > room - 6
                help_text = set_cell_size(choice.help, room - 7) + "…" if cut else choice.help
                text.append(gap + help_text, styles["dim"])
        self.query_one("#choices", Static).update(text)

    def action_move(self, by: int) -> None:
        self.cursor = (self.cursor + by) % len(self.choices)
        self._draw()

    def action_choose(self) -> None:
        self.dismiss(self.choices[self.cursor].value)

    def action_take(self, at: int) -> None:
        self.dismiss(self.choices[at].value)


def ask(node: DOMNode, dialog: ModalScreen[T], then: Callable[[T], object]) -> None:
    """Show a dialog, and call `then` with its answer; not where it is left without one."""

    def answered(answer: T | None) -> None:
        if answer:
            then(answer)

    node.app.push_screen(dialog, answered)


def yes_or_no(yes: str) -> list[Choice]:
    """The two choices of most questions; yes is answered with `yes`."""
    return [Choice("", "n", "No, change nothing"), Choice("yes", "y", yes, danger=True)]


class TextDialog(ModalScreen[str]):
    """Dismissed with what was typed; with nothing ("") when it was left. `touches` says what it will do.

    `fault` says why a text cannot be taken, empty where it can: the question then stays, with the text in it and
    the reason below. `refused` is why `value` was not taken before."""

    CSS = """
    TextDialog { align: center middle; }
    TextDialog > Vertical { width: 76; max-width: 94%; height: auto; border: round $primary; background: $surface;
        padding: 1 2; border-title-color: $primary; }
    TextDialog Static { width: 100%; color: $text-muted; margin-bottom: 1; }
    TextDialog #fault { color: $error; text-style: bold; margin: 1 0 0 0; display: none; }
    """
    BINDINGS = bindings("ask")

    def __init__(
        self,
        title: str,
        touches: str,
        value: str = "",
        placeholder: str = "",
        fault: Callable[[str], str] = lambda text: "",
        refused: str = "",
    ) -> None:
        super().__init__()
        self._fault, self._refused = fault, refused
        self._title, self._touches = title, touches
        self._value, self._placeholder = value, placeholder

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = clean(self._title)
            yield Static(clean(self._touches, lines=True), markup=False)
            yield TextEntry(self._value, placeholder=self._placeholder, compact=True)
            yield Static(id="fault", markup=False)

    def on_mount(self) -> None:
        self._say(self._refused)

    def _say(self, fault: str) -> None:
        line = self.query_one("#fault", Static)
        line.update("✗ " + clean(fault))
        line.display = bool(fault)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        if event.value != self._value:
            self._say("")

    @on(Input.Submitted)
    def _done(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        fault = self._fault(text) if text else ""
        self._say(fault)
        if text and not fault:
            self.dismiss(text)


class LiveSentence(ModalScreen[bool]):
    """`say` returns the current sentence. Dismissed with True where the operator wants the whole story."""

    CSS = """
    LiveSentence { align: center middle; }
    LiveSentence > Vertical { width: auto; min-width: 40; max-width: 90%; height: auto; border: round $primary;
        background: $surface; padding: 1 2; border-title-color: $primary; border-subtitle-color: $text-muted; }
    LiveSentence Static { width: auto; max-width: 100%; }
    """
    BINDINGS = bindings("why")

    def __init__(self, title: str, say: Callable[[], Awaitable[str]]) -> None:
        super().__init__()
        self._title, self._say = title, say
        self.text = Static(markup=False)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = clean(self._title)
            box.border_subtitle = "enter opens the step"
            yield self.text

    def on_mount(self) -> None:
        self.run_worker(self._update(), name="sentence")

    async def _update(self) -> None:
        while True:
            self.text.update(clean(await self._say()))
            await asyncio.sleep(AGAIN)


class Help(ModalScreen[None]):
    """The keys that work now, of the focused pane first, then of its screen, then everywhere."""

    CSS = """
    Help { align: center middle; }
    Help > VerticalScroll {
        width: 104; max-width: 96%; height: auto; max-height: 92%;
        border: round $primary; border-title-color: $primary; background: $surface; padding: 0 2;
    }
    """
    BINDINGS = bindings("help")

    def __init__(self, about: Screen[object]) -> None:
        super().__init__()
        self.about = about

    def compose(self) -> ComposeResult:
        with ScrollPage() as box:
            box.border_title = "Help"
            box.border_subtitle = "esc closes · ctrl+p finds any action"
            yield Static(self._page(), markup=False)

    def _page(self) -> Table:
        styles = role_styles(self.app)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=16, no_wrap=True)
        table.add_column(width=15, no_wrap=True)
        table.add_column(ratio=1)
        groups = self._groups()
        for node in sorted(groups, key=lambda one: one is self.app):
            if table.row_count:
                table.add_row()
            table.add_row(Text(_name(node, self.about), styles["title"]))
            for (title, about), keys in groups[node].items():
                shown = Text(" " + " ".join(dict.fromkeys(keys)), styles["accent"])
                table.add_row(shown, Text(clean(title), styles["text"]), Text(clean(about), styles["dim"]))
        return table

    def _groups(self) -> dict[DOMNode, dict[tuple[str, str], list[str]]]:
        """Returns the keys that work now, by the pane, screen or app that has them, and by title and help."""
        groups: dict[DOMNode, dict[tuple[str, str], list[str]]] = {}
        for active in self.about.active_bindings.values():
            binding, node = active.binding, active.node
            action = BY_ID.get(binding.id or "")
            if action is None and (binding.system or not binding.description):
                continue
            if action is None and node is self.about:
                node = self.app  # moving the focus and copying, which Textual binds on every screen
            about = action.help if action is not None else binding.tooltip
            group = groups.setdefault(self._owner(node), {})
            group.setdefault((binding.description, about), []).append(self.app.get_key_display(binding))
        return groups

    def _owner(self, node: DOMNode) -> DOMNode:
        """Returns the pane that a widget is in: the nearest widget with a title around it."""
        for one in node.ancestors_with_self:
            if one in (self.about, self.app) or getattr(one, "border_title", None):
                return one
        return node


def _name(node: DOMNode, screen: Screen[object]) -> str:
    if node is screen:
        return "This screen"
    if node is screen.app:
        return "Everywhere"
    title = getattr(node, "border_title", None)
    return clean(str(title or type(node).__name__.removesuffix("Pane")))
