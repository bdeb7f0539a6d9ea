"""The fields of a form: a text field or a select, by the type of the value."""

from __future__ import annotations

import json

from textual.content import Content
from textual.widgets import Input, Select

from agentdeck.console.text_entry import TextEntry
from agentdeck.terminal_text import clean
from agentdeck.workflow.model import Data, Type
from agentdeck.workflow.model import Input as Spec


def about(spec: Spec) -> str:
    """What an input is for, and its type or choices."""
    about = f"{spec.about}  " if spec.about else ""
    return clean(f"{about}({', '.join(map(str, spec.type.choices)) or spec.type.kind})")


def field_of(name: str, kind: Type, default: Data) -> Input | Select[str]:
    """A widget with this id to type or choose a value of this type."""
    choices = ["true", "false"] if kind.kind == "boolean" else [str(choice) for choice in kind.choices]
    text = shown_value(default, kind)
    if not choices:
        return TextEntry(text, id=name, compact=True)
    options = [(Content(clean(choice)), choice) for choice in choices]
    if text in choices:
        return Select(options, allow_blank=True, value=text, id=name, compact=True)
    return Select(options, allow_blank=True, id=name, compact=True)


def shown_value(value: Data, kind: Type) -> str:
    """A value as it is typed."""
    if value is None:
        return ""
    return value if isinstance(value, str) and kind.kind in ("string", "any", "choice") else json.dumps(value)
