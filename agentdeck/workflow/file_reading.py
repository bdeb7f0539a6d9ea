"""Validates a file with its pydantic model, and turns the errors into faults with a place and a likely fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agentdeck.workflow.file_model import FileModel, Problem, split_fix
from agentdeck.workflow.model import Data
from agentdeck.workflow.wording import kind
from agentdeck.workflow.yaml_source import INVALID, Path_, Source

#: Rounds in which values with faults are taken out. Each goes at least one level up, and files nest less deep.
ROUNDS = 9


class Found(NamedTuple):
    """A fault: its place, what is wrong, and what to write instead. `name` is the key that is missing there."""

    path: Path_
    what: str
    fix: str = ""
    is_key: bool = False
    name: str = ""


def read(model: type[FileModel], source: Source) -> dict[str, Any]:
    """The values of a file, ready to use: units read, short forms written out, absent keys absent. Every fault is
    noted in `source`, and INVALID stands in its place, so that the rest can be checked further."""
    data = source.data
    for attempt in range(ROUNDS):
        try:
            values: dict[str, Any] = _values(model.model_validate(data))
            return values
        except ValidationError as error:
            found = _faults(error, data)
        for one in found if attempt == 0 else ():
            source.fault(one.path, one.what, one.fix, key=one.is_key)
        data = _without(data, found)
    return {}


def faults(model: type[FileModel], data: Data) -> list[Found]:
    """Every fault that the model finds."""
    try:
        model.model_validate(data)
    except ValidationError as error:
        return _faults(error, data)
    return []


def _faults(error: ValidationError, data: Data) -> list[Found]:
    return [_fault(details, data) for details in error.errors(include_url=False)]


def _values(value: Any) -> Any:
    """A model as a map of the keys that are given, in the order of the model."""
    if isinstance(value, FileModel):
        given = value.model_fields_set
        found = {key: _values(getattr(value, name)) for name, key in _keys(type(value)) if name in given}
        return found | {key: _values(item) for key, item in (value.model_extra or {}).items()}
    if isinstance(value, dict):
        return {key: _values(item) for key, item in value.items()}
    return [_values(item) for item in value] if isinstance(value, list) else value


@cache
def _keys(model: type[FileModel]) -> tuple[tuple[str, str], ...]:
    """The fields of a model, each with its key in a file."""
    return tuple((name, field.alias or name) for name, field in model.model_fields.items())


def _without(data: Data, found: list[Found]) -> Data:
    """A copy of the data with INVALID in the place of every fault: at the nearest key of a map, as a list with an
    invalid item is invalid as a whole. A key that is a fault itself is left out."""
    copied = _copy(data)
    for one in found:
        path = one.path + ((one.name,) if one.name else ())
        while path and not isinstance(path[-1], str):
            path = path[:-1]
        parent = _inside(copied, path[:-1])
        if not path or not isinstance(parent, dict):
            continue
        if one.is_key and not one.name:
            parent.pop(path[-1], None)
        else:
            parent[path[-1]] = INVALID
    return copied


def _inside(data: Data, path: Path_) -> Data:
    """The value at a path; INVALID where something above it has been taken out."""
    for part in path:
        if isinstance(data, dict):
            data = data.get(part, INVALID)
        elif isinstance(data, list) and isinstance(part, int):
            data = data[part]
    return data


def _copy(data: Data) -> Data:
    """A copy in which nothing is shared, also where the original shares values between places."""
    if isinstance(data, dict):
        return {key: _copy(item) for key, item in data.items()}
    return [_copy(item) for item in data] if isinstance(data, list) else data


# Errors of pydantic ----------------------------------------------------------------------------------------


def _fault(error: ErrorDetails, data: Data) -> Found:
    path, is_key = _path(error["loc"], data)
    value = error["input"]
    if isinstance(value, Problem):
        return Found(path, value.what, value.fix, value.is_key, value.name)
    if error["type"] == "missing":
        name = str(error["loc"][-1])
        return Found(path, f"{name} is missing", f"add {name}:", name=name)
    describe = _MESSAGES.get(error["type"])
    what, fix = describe(value, error.get("ctx", {})) if describe else (error["msg"], "")
    return Found(path, what, fix, is_key)


def _path(location: tuple[int | str, ...], data: Data) -> tuple[Path_, bool]:
    """The place in the file, and whether the key is meant. What is in a location and not in the data is left out:
    tags of unions, keys of short forms, items of a list that is written as a single value."""
    path: Path_ = ()
    for part in location:
        inside = (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        )
        if inside:
            path, data = (*path, part), data[part]
    return path, bool(location) and location[-1] == "[key]"


def _needed(what: str, fix: str = "") -> Callable[[Any, Any], tuple[str, str]]:
    return lambda value, _: (f"{what} is needed here, not {kind(value)}", fix)


def _text_needed(value: Any, _: Any) -> tuple[str, str]:
    fix = "quote it" if isinstance(value, bool | int | float) else ""
    return f"text is needed here, not {kind(value)}", fix


def _choice(value: Any, context: Any) -> tuple[str, str]:
    words = re.findall(r"'([^']*)'", context["expected"])
    close = difflib.get_close_matches(value, words, 1, 0.6) if isinstance(value, str) else []
    shown = repr(value) if isinstance(value, str | int | float) else kind(value)
    return f"{shown} is not one of {', '.join(words)}", f"did you mean {close[0]}?" if close else ""


#: The message for each type of error: from the value and the context of the error to what is wrong, and the fix.
_MESSAGES: dict[str, Callable[[Any, Any], tuple[str, str]]] = {
    "fault": lambda _, context: (context["what"], context["fix"]),
    "value_error": lambda _, context: split_fix(str(context["error"])),
    "kind": lambda value, context: (f"{context['needed']} is needed here, not {kind(value)}", ""),
    "string_type": _text_needed,
    "bool_type": _needed("true or false"),
    "int_type": _needed("a whole number"),
    "list_type": _needed("a list", "write it as [a, b]"),
    "dict_type": _needed("a map", "write it as name: value"),
    "literal_error": _choice,
    "greater_than_equal": lambda value, context: (f"{value} is too small", f"the least is {context['ge']}"),
    "less_than_equal": lambda value, context: (f"{value} is too large", f"the most is {context['le']}"),
    "too_short": lambda value, context: (f"{len(value)} values; {context['min_length']} or more are needed", ""),
}
