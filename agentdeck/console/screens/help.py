"""Help: the keys that work now, of the focused pane first, then of its screen, then everywhere."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from agentdeck.console.actions import bindings
from agentdeck.console.screens.base import ScrollPage
from agentdeck.console.state_style import role_styles
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
    BINDINGS = bindings("help")

    def __init__(self, about: Screen[object]) -> None:
        super().__init__()
        self.about = about

    def compose(self) -> ComposeResult:
        with ScrollPage() as box:
            box.border_title = "Help"
            box.border_subtitle = "esc closes · ctrl+p finds everything"
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
            for (title, told), keys in groups[node].items():
                shown = Text(" " + " ".join(dict.fromkeys(keys)), styles["accent"])
                table.add_row(shown, Text(clean(title), styles["text"]), Text(clean(told), styles["dim"]))
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
            told = action.help if action is not None else binding.tooltip
            group = groups.setdefault(self._owner(node), {})
            group.setdefault((binding.description, told), []).append(self.app.get_key_display(binding))
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
