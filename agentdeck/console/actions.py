"""The bindings of the console, made from the registry of actions, and the operator's own keys for them.

`keymap.yaml` in the config folder is a map of action ids and keys:

    run.pause: space
    run.cancel: [c, delete]

An entry that cannot be used is left out and reported: an id that does not exist, or a key that another action of
the same widget or screen has. Quit keeps its key.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from textual.binding import Binding, BindingType

from agentdeck.operations.action_types import EVERYWHERE, Action
from agentdeck.operations.actions import ACTIONS, BY_ID, of

#: This key closes the console whatever a keymap says, so that an operator can always leave.
ALWAYS = {"everywhere.quit": "ctrl+q"}
#: Scopes of screens. A binding of theirs names the screen, so that it runs there whatever has the focus.
SCREENS = ("deck", "run", "replay", "letters", "questions", "history")


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


#: Characters and short names for keys, and what Textual calls them.
SPELLED = {
    "?": "question_mark", ":": "colon", "/": "slash", "+": "plus", "-": "minus", "=": "equals_sign",
    "[": "left_square_bracket", "]": "right_square_bracket", "{": "left_curly_bracket",
    "}": "right_curly_bracket", "<": "less_than_sign", ">": "greater_than_sign", ".": "full_stop", ",": "comma",
    "!": "exclamation_mark", "#": "number_sign", " ": "space", "esc": "escape", "return": "enter",
    "del": "delete",
}  # fmt: skip
#: Pairs of scopes whose actions belong to one widget.
SAME_WIDGET = ({"limits", "table"}, {"confirm", "choice"})
KEY = re.compile(r"((ctrl|shift|alt|super)\+)*([a-z0-9_]+|[A-Z])")


def load_keymap(file: Path) -> tuple[dict[str, str], list[str]]:
    """Returns the keys by action id, as Textual takes them, and a sentence on each entry that was left out. A
    file that does not exist changes nothing."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe", pure=True, plug_ins=[]).load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, []
    except YAMLError as error:
        return {}, [f"{file.name}: {' '.join(str(error).split())[:160]}"]
    except (OSError, ValueError) as error:
        return {}, [f"{file.name}: {error}"]
    if data is not None and not isinstance(data, dict):
        return {}, [f"{file.name}: a keymap is a map of actions and keys, like  run.pause: space"]
    return resolve_keymap(data or {})


def resolve_keymap(wanted: Mapping[Any, Any]) -> tuple[dict[str, str], list[str]]:
    """Checks a keymap against the registry of actions; returns what `load_keymap` does."""
    faults: list[str] = []
    accepted: dict[str, tuple[str, ...]] = {}
    for name, value in wanted.items():
        try:
            accepted[name] = _keys(name, value)
        except ValueError as error:
            faults.append(str(error))
    while (clash := _clash(accepted)) is not None:
        name, key, other = clash
        faults.append(f"keymap: {name}: {key} already belongs to {other}; the keys of {name} stay as they were")
        del accepted[name]
    return {name: ",".join(_keys_now(BY_ID[name], accepted)) for name in accepted}, faults


def _clash(accepted: dict[str, tuple[str, ...]]) -> tuple[str, str, str] | None:
    """Returns the last entry whose key another action has, that key, and the other action."""
    for name, keys in reversed(accepted.items()):
        action = BY_ID[name]
        for other in (other for other in ACTIONS if other is not action and _exclude_each_other(action, other)):
            taken = set(_keys_now(other, accepted))
            for key in keys:
                # Two actions of one widget may share a default key: the widget tries one first.
                if key in taken and not (key in action.keys and key in other.keys):
                    return name, key, other.id
    return None


def _keys_now(action: Action, accepted: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    always = (ALWAYS[action.id],) if action.id in ALWAYS else ()
    return tuple(dict.fromkeys((*accepted.get(action.id, action.keys), *always)))


def _exclude_each_other(one: Action, other: Action) -> bool:
    """Whether two actions must not have the same key. A pane, a list or a dialog may have a key that its screen
    has too: it comes before the screen. Nothing comes before quit."""
    scopes = {one.scope, other.scope}
    if len(scopes) == 1 or scopes in SAME_WIDGET or not ALWAYS.keys().isdisjoint((one.id, other.id)):
        return True
    return EVERYWHERE in scopes and not scopes.isdisjoint(SCREENS)


def _keys(name: str, value: object) -> tuple[str, ...]:
    """Returns the keys of an entry, as Textual names them. Raises ValueError with a sentence for the operator."""
    if name not in BY_ID:
        near = difflib.get_close_matches(str(name), BY_ID, n=1)
        raise ValueError(f"keymap: there is no action {name}" + (f"; did you mean {near[0]}?" if near else ""))
    if not BY_ID[name].keys:
        raise ValueError(f"keymap: {name} cannot have a key: type it into the palette")
    given = value if isinstance(value, list) else [value]
    keys = []
    for one in given:
        if not isinstance(one, str | int) or isinstance(one, bool) or not str(one):
            raise ValueError(f"keymap: {name}: {one!r} is not a key; write it as  {name}: space")
        key = SPELLED.get(str(one), str(one))
        head, plus, last = key.rpartition("+")
        key = head + plus + SPELLED.get(last, last)
        if not KEY.fullmatch(key):
            raise ValueError(f"keymap: {name}: {one!r} is not a key; write it as  ctrl+k  or  f5")
        keys.append(key)
    if not keys:
        raise ValueError(f"keymap: {name}: no key given; remove the line to keep {', '.join(BY_ID[name].keys)}")
    return tuple(keys)
