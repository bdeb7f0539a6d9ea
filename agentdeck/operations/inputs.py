"""Inputs from the command line and from task files: read by their type, checked by name."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from agentdeck.errors import UsageError
from agentdeck.workflow.inputs import article
from agentdeck.workflow.model import Data, Definition, Type

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def pair(text: str, option: str) -> tuple[str, str]:
    """`name=value`. Raises UsageError."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"{option} {text}: write it as {option} name=value")
    return name.strip(), value


def given(pairs: Iterable[str], definition: Definition) -> dict[str, Data]:
    """The inputs of `-i name=value`. `@file` is that file's text, `@@` is an at sign."""
    found: dict[str, Data] = {}
    for text in pairs:
        name, value = pair(text, "-i")
        known_name(name, definition)
        if value.startswith("@@"):
            value = value[1:]
        elif value.startswith("@"):
            value = _file(name, value[1:])
        spec = definition.inputs.get(name)
        try:
            found[name] = read(value, spec.type if spec else Type())
        except ValueError as error:
            raise UsageError(f"-i {name}: {error}") from None
    return found


def complete(definition: Definition, inputs: Mapping[str, Data]) -> None:
    """Raises UsageError where one is missing."""
    missing = lacking(definition, inputs)
    if missing:
        names = ", ".join(missing)
        raise UsageError(
            f"{definition.name} needs the input{'s' * (len(missing) > 1)} {names}; give it with -i {missing[0]}=…"
        )


def lacking(definition: Definition, inputs: Mapping[str, Data]) -> list[str]:
    return [name for name, spec in definition.inputs.items() if spec.required and name not in inputs]


def known_name(name: str, definition: Definition) -> None:
    if definition.inputs and name not in definition.inputs:
        near = difflib.get_close_matches(name, definition.inputs, n=1)
        known = f"did you mean {near[0]}?" if near else f"it has {', '.join(definition.inputs)}"
        raise UsageError(f"{definition.name} has no input {name}; {known}")


def read(text: str, kind: Type) -> Data:
    """A value of this type from its text. Raises ValueError with a sentence for people."""
    match kind.kind:
        case "string":
            return text
        case "integer" | "number":
            return _number(text, kind.kind)
        case "boolean":
            if text.strip().lower() in TRUE + FALSE:
                return text.strip().lower() in TRUE
            raise ValueError(f"{text!r} is not true or false")
        case "list" | "object":
            value = _json(text)
            if not isinstance(value, list if kind.kind == "list" else dict):
                raise ValueError(f"{_short(text)} is not {article(kind.kind)}, written as JSON")
            return value
        case "choice":
            for choice in kind.choices:
                if text == (choice if isinstance(choice, str) else json.dumps(choice)):
                    return choice
            raise ValueError(f"{text!r} is not one of {', '.join(map(str, kind.choices))}")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _number(text: str, kind: str) -> Data:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        if kind == "number":
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is not {article(kind)}")


def _json(text: str) -> Data:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{_short(text)} is not JSON ({error})") from None


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "…"


def _file(name: str, file: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"-i {name}: {file}: {reason}") from error
