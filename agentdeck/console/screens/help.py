"""Help: the keys that work now, of the focused pane first, then of its screen, then everywhere."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from agentdeck.console.actions import BY_ID
from agentdeck.console.look import look_of
from agentdeck.core.clean import clean


class Help(ModalScreen[None]):
    CSS = """
    Help { align: center middle; }
    Help > VerticalScroll {
        width: 78; max-width: 96%; height: auto; max-height: 92%;
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
            yield Static(self._text(), markup=False)

    def _text(self) -> Text:
        look, text = look_of(self.app), Text()
        groups: dict[DOMNode, dict[str, list[str]]] = {}
        helps: dict[str, str] = {}
        for active in self.about.active_bindings.values():
            binding = active.binding
            if binding.system or not binding.description:
                continue
            title = binding.description
            groups.setdefault(active.node, {}).setdefault(title, []).append(self.app.get_key_display(binding))
            action = BY_ID.get(binding.id or "")
            helps[title] = action.help if action else binding.tooltip
        for node, actions in groups.items():
            text.append(("\n" if text else "") + _name(node, self.about) + "\n", look["title"])
            for title, keys in actions.items():
                shown = " ".join(dict.fromkeys(keys))
                text.append(f"  {shown:<16} ", look["accent"])
                text.append(f"{title:<14} ", look["text"])
                text.append(clean(helps[title]) + "\n", look["dim"])
        return text


def _name(node: DOMNode, screen: Screen[object]) -> str:
    if node is screen:
        return "This screen"
    if node is screen.app:
        return "Everywhere"
    title = getattr(node, "border_title", None)
    return clean(str(title or type(node).__name__.removesuffix("Pane")))
