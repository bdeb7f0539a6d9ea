"""The fields of forms: a text field that shows control characters, or a select, by the type of the value."""

from __future__ import annotations

import json

from rich.text import Text
from textual import events
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Select

from agentdeck.terminal_text import clean, dotted
from agentdeck.workflow.model import Data, Type
from agentdeck.workflow.model import Input as Spec


class TextEntry(Input):
    """An Input that shows a dot for each character that a terminal would obey; its value keeps them."""

    def _on_paste(self, event: events.Paste) -> None:
        """Textual keeps the first line of what is pasted and says nothing: what has more lines is refused."""
        lines = event.text.strip("\r\n").splitlines()
        if len(lines) < 2:
            super()._on_paste(events.Paste("".join(lines)))
        else:
            refuse_lines(self, len(lines))
        event.stop()
        event.prevent_default()

    @property
    def _value(self) -> Text:
        text = Text(dotted(self.value), no_wrap=True, overflow="ignore", end="")
        return text if self.highlighter is None else self.highlighter(text)


def refuse_lines(widget: Widget, count: int) -> None:
    """Say that a text of so many lines was not pasted."""
    widget.notify(f"not pasted: it has {count:,} lines, and this field holds one", severity="warning")


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
    value = text if text in choices else Select.NULL
    return Select(options, allow_blank=True, value=value, id=name, compact=True)


def shown_value(value: Data, kind: Type) -> str:
    """A value as it is typed."""
    if value is None:
        return ""
    return value if isinstance(value, str) and kind.kind in ("string", "any", "choice") else json.dumps(value)


def typed_text(field: Widget) -> str:
    """What was typed or chosen in a field; empty where nothing was."""
    if isinstance(field, Select):
        return "" if field.is_blank() else str(field.value)
    return field.value if isinstance(field, Input) else ""
