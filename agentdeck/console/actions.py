"""The bindings of the console, made from the registry of actions."""

from __future__ import annotations

from collections.abc import Collection

from textual.binding import Binding, BindingType

from agentdeck.operations.action_types import EVERYWHERE, Action
from agentdeck.operations.actions import of

#: This key closes the console whatever a keymap says, so that an operator can always leave.
ALWAYS = {"everywhere.quit": "ctrl+q"}
#: Scopes of screens. A binding of theirs names the screen, so that it runs there whatever has the focus.
SCREENS = ("deck", "run", "replay", "letters", "history")


def bindings(
    scope: str, widget: str = "", *, names: Collection[str] = (), footer: bool = True
) -> list[BindingType]:
    """Returns the bindings of the actions of a scope, or of one widget in it, or of those with these `names`. A
    keymap changes their keys by their ids. With `footer` False the footer leaves them out."""
    return [
        Binding(
            ",".join(action.keys),
            _call(action),
            action.title,
            show=action.footer and footer,
            priority=action.id in ALWAYS,
            id=action.id,
            tooltip=action.help,
        )
        for action in of(scope, widget)
        if action.keys and (not names or action.name in names)
    ]


def _call(action: Action) -> str:
    """Returns the Textual action with the namespace that has its method."""
    if action.scope == EVERYWHERE:
        return f"app.{action.call}"
    return f"screen.{action.call}" if action.scope in SCREENS else action.call
