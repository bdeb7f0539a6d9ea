"""What the registry says of one action."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Target: TypeAlias = Literal["run", "workflow", "task", "agent", "step", "limit", "letter"]
Argument: TypeAlias = Literal["amount", "value"]

EVERYWHERE = "everywhere"


class Action(NamedTuple):
    """One thing an operator can do.

    `id` is `scope.name`, as a keymap names it. The scope is the screen, pane or dialog that has the action.
    `keys` are the default keys, as Textual names them. An action without keys has no binding: it is typed into
    the palette, or reached through another action.
    `does` is the Textual action with its parameters, where it is not the name in the id: `walk(-1)`.
    `widget` names the part of a pane that has the action, in scopes that several widgets share.
    `danger`: the action stops or deletes something, and asks before it does. `footer`: the footer shows it.
    `targets` are the kinds of things it acts on, `arguments` the types of what is typed after the target. `typed`
    is what the palette says of the typed command; empty where the action cannot be typed.
    `commands` are the engine commands it sends to the owner of a run.
    `verb` is the verb of the command line that does the same, `verb_help` its line in `agentdeck --help` where
    `help` does not fit.
    """

    id: str
    title: str
    help: str
    keys: tuple[str, ...] = ()
    danger: bool = False
    footer: bool = False
    does: str = ""
    widget: str = ""
    targets: tuple[Target, ...] = ()
    arguments: tuple[Argument, ...] = ()
    typed: str = ""
    commands: tuple[str, ...] = ()
    verb: str = ""
    verb_help: str = ""

    @property
    def scope(self) -> str:
        return self.id.partition(".")[0]

    @property
    def name(self) -> str:
        return self.id.partition(".")[2]

    @property
    def call(self) -> str:
        """The Textual action with its parameters."""
        return self.does or self.name
