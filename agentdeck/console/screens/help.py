"""Help: the keys that work now, of the focused pane first, then of its screen, then everywhere."""

from __future__ import annotations

from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from agentdeck.console.state_style import look_of
from agentdeck.operations.actions import BY_ID
from agentdeck.terminal_text import clean


class Help(ModalScreen[None]):
    CSS = """
    Help { align: center middle; }
    Help > VerticalScroll {
        width: 104; max-width: 96%; height: auto; max-height: 92%;
        border: round $primary; border-title-color: $primary; background: $surface; padding: 0 2;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1,enter", "dismiss", "Close", show=False)
    ]

    def __init__(self, about: Screen[object]) -> None:
        super().__init__()
        self.about = about

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = "Help"
            box.border_subtitle = "esc closes · ctrl+p finds everything"
            yield Static(self._page(), markup=False)

    def _page(self) -> Table:
        look = look_of(self.app)
        groups: dict[DOMNode, dict[str, list[str]]] = {}
        helps: dict[str, str] = {}
        for active in self.about.active_bindings.values():
            binding, node = active.binding, active.node
            if binding.system or not binding.description or binding.action.startswith(("scroll_", "page_")):
                continue
            if node is self.about and not binding.id:
                node = self.app  # Textual's own
            keys = groups.setdefault(node, {}).setdefault(binding.description, [])
            keys.append(self.app.get_key_display(binding))
            action = BY_ID.get(binding.id or "")
            helps[binding.description] = action.help if action else binding.tooltip
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=16, no_wrap=True)
        table.add_column(width=15, no_wrap=True)
        table.add_column(ratio=1)
        for node, actions in sorted(groups.items(), key=lambda one: one[0] is self.app):
            if table.row_count:
                table.add_row()
            table.add_row(Text(_name(node, self.about), look["title"]))
            for title, named in actions.items():
                shown = Text(" " + " ".join(dict.fromkeys(named)), look["accent"])
                table.add_row(shown, Text(clean(title), look["text"]), Text(clean(helps[title]), look["dim"]))
        return table


def _name(node: DOMNode, screen: Screen[object]) -> str:
    if node is screen:
        return "This screen"
    if node is screen.app:
        return "Everywhere"
    title = getattr(node, "border_title", None)
    return clean(str(title or type(node).__name__.removesuffix("Pane")))
