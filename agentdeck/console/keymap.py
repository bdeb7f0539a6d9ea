"""The operator's own keys: `keymap.yaml` in the config folder, a map of action ids and keys.

    run.pause: space
    run.cancel: [c, delete]

An entry that cannot be used is left out and reported: an id that does not exist, or a key that another action of
the same widget or screen has. Quit keeps its key.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentdeck.console.actions import ALWAYS, SCREENS
from agentdeck.operations.action_types import EVERYWHERE, Action
from agentdeck.operations.actions import ACTIONS, BY_ID

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


def load(file: Path) -> tuple[dict[str, str], list[str]]:
    """Returns the keys by action id, as Textual takes them, and a sentence on each entry that was left out. A
    file that does not exist changes nothing."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}, []
    except (OSError, ValueError) as error:
        return {}, [f"{file.name}: {error}"]
    try:
        data = YAML(typ="safe", pure=True, plug_ins=[]).load(text)
    except YAMLError as error:
        return {}, [f"{file.name}: {' '.join(str(error).split())[:160]}"]
    if data is None:
        return {}, []
    if not isinstance(data, dict):
        return {}, [f"{file.name}: a keymap is a map, as in  run.pause: space"]
    return resolve(data)


def resolve(wanted: Mapping[Any, Any]) -> tuple[dict[str, str], list[str]]:
    """Checks a keymap against the registry of actions; returns what `load` does."""
    faults: list[str] = []
    asked: dict[str, tuple[str, ...]] = {}
    for name, value in wanted.items():
        if name not in BY_ID:
            near = difflib.get_close_matches(str(name), BY_ID, n=1)
            faults.append(f"keymap: there is no action {name}" + (f"; did you mean {near[0]}?" if near else ""))
            continue
        if not BY_ID[name].keys:
            faults.append(f"keymap: {name} has no key: type it into the palette")
            continue
        try:
            asked[name] = _keys(name, value)
        except ValueError as error:
            faults.append(str(error))
    kept: dict[str, str] = {}
    for name, keys in asked.items():
        clash = next(
            (
                (key, other)
                for key in keys
                for other in ACTIONS
                if other.id != name and _meet(BY_ID[name], other) and key in _now(other, asked, kept)
            ),
            None,
        )
        if clash is not None:
            faults.append(f"keymap: {name}: {clash[0]} is {clash[1].id} already; it keeps its own keys")
            continue
        always = (ALWAYS[name],) if name in ALWAYS else ()
        kept[name] = ",".join(dict.fromkeys((*keys, *always)))
    return kept, faults


def _now(action: Action, asked: Mapping[str, tuple[str, ...]], kept: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the keys an action has: those accepted for it already, else its default keys, unless the keymap
    gives it others."""
    always = (ALWAYS[action.id],) if action.id in ALWAYS else ()
    if action.id in kept:
        return tuple(kept[action.id].split(","))
    return always if action.id in asked else (*action.keys, *always)


def _meet(one: Action, other: Action) -> bool:
    """Whether two actions must not have the same key. A pane, a list or a dialog may have a key that its screen
    has too: it comes before the screen. Nothing comes before quit."""
    scopes = {one.scope, other.scope}
    if len(scopes) == 1 or scopes in SAME_WIDGET or not ALWAYS.keys().isdisjoint((one.id, other.id)):
        return True
    return EVERYWHERE in scopes and not scopes.isdisjoint(SCREENS)


def _keys(name: str, value: object) -> tuple[str, ...]:
    given = value if isinstance(value, list) else [value]
    keys = []
    for one in given:
        if not isinstance(one, str | int) or isinstance(one, bool) or not str(one):
            raise ValueError(f"keymap: {name}: {one!r} is no key; write it as  {name}: space")
        key = SPELLED.get(str(one), str(one))
        head, plus, last = key.rpartition("+")
        key = head + plus + SPELLED.get(last, last)
        if not KEY.fullmatch(key):
            raise ValueError(f"keymap: {name}: {one!r} is no key; write it as  ctrl+k  or  f5")
        keys.append(key)
    if not keys:
        raise ValueError(
            f"keymap: {name}: no key at all; leave the line out to keep {', '.join(BY_ID[name].keys)}"
        )
    return tuple(keys)
