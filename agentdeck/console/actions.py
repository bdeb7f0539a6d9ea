"""The bindings of the console, made from the registry of actions."""

from __future__ import annotations

from collections.abc import Collection

from textual.binding import Binding, BindingType

from agentdeck.operations.actions import EVERYWHERE, Action, of

#: This key closes the console whatever a keymap says, so that an operator can always leave.
ALWAYS = {"everywhere.quit": "ctrl+q"}
#: Scopes whose actions are methods of a screen. A binding of theirs names the screen, so that the palette can run
#: it while a dialog has the keys.
SCREENS = ("deck", "run", "replay", "letters", "history")


def bindings(scope: str, widget: str = "", *, no_footer: Collection[str] = ()) -> list[BindingType]:
    """The bindings of the widget, screen or app of a scope. Their ids let a keymap change their keys. `no_footer`
    names actions that the footer leaves out here, although it shows them elsewhere."""
    return [
        Binding(
            ",".join(action.keys),
            _call(action),
            action.title,
            show=action.footer and action.name not in no_footer,
            priority=action.id in ALWAYS,
            id=action.id,
            tooltip=action.help,
        )
        for action in of(scope, widget)
        if action.keys
    ]


def _call(action: Action) -> str:
    if action.scope == EVERYWHERE:
        return f"app.{action.call}"
    return f"screen.{action.call}" if action.scope in SCREENS else action.call
