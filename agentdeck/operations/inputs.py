"""Values that an operator types, parsed by the type that the workflow declares."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from agentdeck.errors import UsageError
from agentdeck.workflow.model import Data, Definition, Type
from agentdeck.workflow.units import duration
from agentdeck.workflow.wording import article, did_you_mean, fits

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def pair(text: str, option: str) -> tuple[str, str]:
    """Name and value of `name=value`. Raises UsageError, which names `option`."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"{option} {text}: write it as {option} name=value")
    return name.strip(), value


def inputs_from(pairs: Iterable[str], definition: Definition) -> dict[str, Data]:
    """The inputs in `-i name=value`; `@file` is the text of a file, `@@` an at sign. Raises UsageError."""
    found: dict[str, Data] = {}
    for text in pairs:
        name, value = pair(text, "-i")
        check_name(name, definition)
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


def inputs_in(file: str, definition: Definition) -> dict[str, Data]:
    """The inputs in a JSON file, which has one object. Text for an input of another type is read as `-i` reads
    it. Raises UsageError."""
    try:
        found = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--inputs {file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--inputs {file}: this is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise UsageError(f'--inputs {file}: inputs are an object, such as {{"topic": "stoves"}}')
    for name, value in found.items():
        check_name(name, definition)
        spec = definition.inputs.get(name)
        if spec is None or value is None:
            continue
        try:
            found[name] = read(value, spec.type) if isinstance(value, str) and spec.type.kind != "any" else value
        except ValueError as error:
            raise UsageError(f"the input {name}: {error}") from None
        if wrong := fits(found[name], spec.type):
            raise UsageError(f"the input {name} is {wrong}")
    return found


def check_complete(definition: Definition, inputs: Mapping[str, Data]) -> None:
    """Raises UsageError if a required input has no value."""
    if missing := missing_inputs(definition, inputs):
        names = f"input{'s' * (len(missing) > 1)} {', '.join(missing)}"
        raise UsageError(f"{definition.name} needs the {names}; give it with -i {missing[0]}=…")


def missing_inputs(definition: Definition, inputs: Mapping[str, Data]) -> list[str]:
    """Names of the required inputs that have no value."""
    return [name for name, spec in definition.inputs.items() if spec.required and name not in inputs]


def check_name(name: str, definition: Definition) -> None:
    """Raises UsageError, with the nearest name, if the workflow declares inputs and this is none of them."""
    if definition.inputs and name not in definition.inputs:
        known = did_you_mean(name, definition.inputs, f"it has {', '.join(definition.inputs)}")
        raise UsageError(f"{definition.name} has no input {name}; {known}")


def read(text: str, kind: Type) -> Data:
    """The value of this type that a text names. Raises ValueError with a sentence for the operator."""
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
            return _collection(text, kind.kind)
        case "choice":
            for choice in kind.choices:
                if text == (choice if isinstance(choice, str) else json.dumps(choice)):
                    return choice
            raise ValueError(f"{text!r} is not one of {', '.join(map(str, kind.choices))}")
    return json_or_text(text)


def moment_from(text: str | None, option: str) -> float | None:
    """The Unix time that `2h` (ago) or an ISO date names; a date without an offset is in local time. Raises
    UsageError, which names `option`."""
    if text is None:
        return None
    try:
        return time.time() - duration(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        what = "write 2h or 30d for so long ago, or a date like 2026-01-31 or 2026-01-31T18:00"
        raise UsageError(f"{option}: {text!r} is not a time; {what}") from None


def json_or_text(text: str) -> Data:
    """The value if the text is JSON, else the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _number(text: str, kind: str) -> Data:
    for parse in (int, float) if kind == "number" else (int,):
        with contextlib.suppress(ValueError):
            return parse(text)
    raise ValueError(f"{text!r} is not {article(kind)}")


def _collection(text: str, kind: str) -> Data:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{_short(text)} is not JSON ({error})") from None
    if not isinstance(value, list if kind == "list" else dict):
        raise ValueError(f"{_short(text)} is not {article(kind)}, written as JSON")
    return value


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "…"


def _file(name: str, file: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"-i {name}: {file}: {reason}") from error
