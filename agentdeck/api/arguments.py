"""Checks the arguments of the Python API when they are given, so that a mistake is named before anything runs."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any, NamedTuple, TypeVar, cast

from agentdeck.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])
#: Characters of a value that a message shows.
SHOWN = 80


class Kind(NamedTuple):
    """What an argument has to be: `needed` as the end of a sentence, and whether a value `fits`. With `each`, the
    argument is an iterable of such values."""

    needed: str
    fits: Callable[[Any], bool]
    each: bool = False


def one_of(names: Sequence[str | None]) -> Kind:
    """One of these words."""
    return Kind(f"one of {', '.join(map(str, names))}", lambda value: value in names)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_time(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    return number or isinstance(value, datetime)


def _is_observer(value: Any) -> bool:
    methods = getattr(value, "observe", None), getattr(value, "close", None)
    return (
        not inspect.isclass(value)
        and all(map(callable, methods))
        and not any(map(inspect.iscoroutinefunction, methods))
    )


def _is_iterable(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


TEXT = Kind("text", lambda value: isinstance(value, str))
WHOLE = Kind("a whole number", _is_whole)
COUNT = Kind("a whole number, 0 or more", lambda value: _is_whole(value) and value >= 0)
YES_OR_NO = Kind("True or False", lambda value: isinstance(value, bool))
TIME = Kind("a datetime, or seconds since the epoch", _is_time)
#: What the arguments of all functions of the API have to be, by name: a name means the same everywhere.
ARGUMENTS: Mapping[str, Kind] = {
    "given": Kind("a map of inputs by name", lambda value: isinstance(value, Mapping)),
    "db": Kind("the path of a store", lambda value: isinstance(value, str | os.PathLike)),
    "path": Kind("the path of a store", lambda value: isinstance(value, str | os.PathLike)),
    "workers": WHOLE,
    "keep": COUNT,
    "limit": COUNT,
    "after": COUNT,
    **dict.fromkeys(("check", "wait", "now", "accept_changes"), YES_OR_NO),
    "answers": Kind("a function that gets a question", callable),
    "tags": Kind("text", lambda value: isinstance(value, str), each=True),
    "observers": Kind(
        "an observer: an object with the methods observe and close, which are not async", _is_observer, each=True
    ),
    "functions": Kind(
        "a map of functions by the names of their agents", lambda value: isinstance(value, Mapping)
    ),
    "run": Kind("the id of a run, the beginning of one, or 'last'", lambda value: isinstance(value, str)),
    "task": Kind("the number of a task", lambda value: isinstance(value, str) or _is_whole(value)),
    **dict.fromkeys(("step", "agent", "name", "workflow", "tag", "text"), TEXT),
    "since": TIME,
    "until": TIME,
}


def checked(**own: Kind) -> Callable[[Function], Function]:
    """Decorates a function of the API: it raises UsageError for an argument that is not of the kind in ARGUMENTS,
    or in `own`. An argument at its default (None, often) is taken."""

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        kinds = {name: kind for name, kind in {**ARGUMENTS, **own}.items() if name in signature.parameters}

        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            try:
                bound = signature.bind(*args, **given)
            except TypeError:
                return function(*args, **given)  # raises it with the name of the function
            for name, value in bound.arguments.items():
                if name in kinds and value is not signature.parameters[name].default:
                    bound.arguments[name] = _check(name, value, kinds[name])
            return function(*bound.args, **bound.kwargs)

        return cast("Function", call)

    return decorate


def _check(name: str, value: Any, kind: Kind) -> Any:
    """The value; an iterable of values as a tuple, as it may give them only once."""
    if not kind.each:
        if not kind.fits(value):
            raise UsageError(f"{name}={_shown(value)}: it has to be {kind.needed}")
        return value
    if not _is_iterable(value):
        raise UsageError(f"{name}={_shown(value)}: it has to be a list, of which each is {kind.needed}")
    values = tuple(value)
    for one in values:
        if not kind.fits(one):
            raise UsageError(f"{name}: {_shown(one)} has to be {kind.needed}")
    return values


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
