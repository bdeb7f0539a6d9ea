"""Typed parameters of Python agents: a parameter `load: Doc` gets a `Doc`, and `x: int` an int or a clear error.

Pydantic converts, as leniently as JSON needs it: a datetime from text, a dataclass or a model from a map. A value
that already has the annotated plain type is passed on without it, so an untyped function costs nothing, and one
with plain types hardly anything.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, NamedTuple, Union, get_args, get_origin, is_typeddict

from agentdeck.errors import StepError
from agentdeck.workflow.json_text import room_left
from agentdeck.workflow.model import Data

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

#: Annotations that take any value.
ANYTHING = (Any, object)
#: Annotations of values that are read one by one. Data that fits them is a list: pydantic would give an iterator
#: that can be read only once and checks an element only when it is read, or would check nothing.
ONE_BY_ONE = (Iterable, Iterator, Generator, AsyncIterable, AsyncIterator, AsyncGenerator)
#: Plain types, and the annotations that all their values fit.
PLAIN: Mapping[type, tuple[Any, ...]] = {
    int: (int,), float: (float,), bool: (bool,), str: (str,), dict: (dict, Mapping), list: (list, Sequence),
}  # fmt: skip
#: Values of more than so many characters as JSON are converted in a thread.
SHORT = 16_000
#: Faults of one value, and characters of the value, that a message shows.
FAULTS, SHOWN = 3, 80


class Annotations(NamedTuple):
    """The annotations of a function by the names of its parameters. `unresolved`: those that are text and name
    something unknown, with the reason."""

    types: dict[str, Any]
    unresolved: dict[str, str]


def annotations_of(function: Callable[..., Any]) -> Annotations:
    """The annotations of all parameters but `ctx`, `*args` and `**kwargs`. Those that are text (all are with
    `from __future__ import annotations`) are evaluated one by one: one that cannot be resolved leaves the
    others."""
    found = Annotations({}, {})
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return found
    names: dict[str, Any] | None = None
    for parameter in parameters:
        name, annotation = parameter.name, parameter.annotation
        several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if annotation is parameter.empty or several or name == "ctx":
            continue
        if isinstance(annotation, str):
            names = _names_known_to(function) if names is None else names
            try:
                annotation = eval(annotation, names)
            except Exception as error:
                found.unresolved[name] = f"{annotation} ({type(error).__name__}: {error})"
                continue
        found.types[name] = annotation
    return found


def _names_known_to(function: Any) -> dict[str, Any]:
    """What annotations of a function may name: all of its module, and what it uses of a function around it."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isclass(function):
        module = sys.modules.get(function.__module__)
        return dict(vars(module)) if module is not None else {}
    if not inspect.isroutine(function):
        function = type(function).__call__
    function = inspect.unwrap(getattr(function, "__func__", function))
    names = dict(getattr(function, "__globals__", {}))
    around = getattr(getattr(function, "__code__", None), "co_freevars", ())
    for name, cell in zip(around, getattr(function, "__closure__", None) or (), strict=False):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return names


@dataclass(slots=True)
class Converter:
    """Converts the value of one parameter. A value whose type is `plain` is left as it is; the adapter of a plain
    type is made for the first value of another type."""

    target: str
    name: str
    annotation: Any
    plain: type | None
    adapter: TypeAdapter[Any] | None

    def fits(self, value: Data) -> bool:
        return type(value) is self.plain

    def convert(self, value: Data) -> Any:
        """The value as the annotated type. Raises StepError of kind `setup`: the next attempt would get the same
        value."""
        from pydantic import TypeAdapter, ValidationError

        if self.adapter is None:
            self.adapter = TypeAdapter(self.annotation)
        try:
            return self.adapter.validate_python(value)
        except ValidationError as error:
            raise StepError("setup", self._message(error, value)) from None
        except Exception as error:  # a validator of the operator's own
            raise StepError("setup", f"{self._given(value)}: {type(error).__name__}: {error}") from None

    def _message(self, error: ValidationError, value: Data) -> str:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        parts = []
        for one in faults[:FAULTS]:
            place = ".".join(str(part) for part in one["loc"])
            parts.append(f"{place}: {one['msg']}" if place else one["msg"])
        if len(faults) > FAULTS:
            parts.append(f"and {len(faults) - FAULTS} more")
        return f"{self._given(value)}: {'; '.join(parts)}"

    def _given(self, value: Data) -> str:
        kind = self.annotation.__name__ if inspect.isclass(self.annotation) else str(self.annotation)
        text = repr(value)
        shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
        return f"{self.target} needs {self.name}: {kind}, and was given {shown}"


def converters(function: Callable[..., Any], target: str) -> dict[str, Converter]:
    """What converts the value of each parameter. Parameters that take any value have none; nor have those whose
    annotation cannot be resolved, or is no type that data can be converted to (a client, a data frame)."""
    found = {}
    for name, written in annotations_of(function).types.items():
        annotation = _with_lists(written)
        if any(annotation is one for one in ANYTHING):
            continue
        plain = _plain_type(annotation)
        adapter = _adapter(annotation) if plain is None else None
        if plain is not None or adapter is not None:
            found[name] = Converter(target, name, annotation, plain, adapter)
    return found


async def convert(arguments: dict[str, Any], by_name: Mapping[str, Converter]) -> None:
    """Convert the arguments in place; large values in a thread, as the event loop would have to wait."""
    for name, converter in by_name.items():
        if name not in arguments or converter.fits(arguments[name]):
            continue
        value = arguments[name]
        if room_left(value, SHORT) >= 0:
            arguments[name] = converter.convert(value)
        else:
            from anyio import to_thread  # `agentdeck check` reads annotations, and needs no event loop

            arguments[name] = await to_thread.run_sync(converter.convert, value)


def _with_lists(annotation: Any) -> Any:
    """The annotation with `list` in the place of each of ONE_BY_ONE."""
    origin, inner = get_origin(annotation) or annotation, get_args(annotation)
    if any(origin is one for one in ONE_BY_ONE):
        return list[_with_lists(inner[0])] if inner else list  # type: ignore[misc]
    with_lists = tuple(_with_lists(one) for one in inner)
    if all(new is old for new, old in zip(with_lists, inner, strict=True)):
        return annotation
    return (Union if origin is UnionType else origin)[with_lists]


def _plain_type(annotation: Any) -> type | None:
    """The plain type whose values all fit the annotation: `dict` for `dict[str, Any]`."""
    origin, inner = get_origin(annotation) or annotation, get_args(annotation)
    kind = next((plain for plain, names in PLAIN.items() if any(origin is name for name in names)), None)
    if inner and (kind is dict) == (inner[0] is str) and any(inner[-1] is one for one in ANYTHING):
        return kind
    return kind if not inner else None


def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(_with_readable_keys(annotation) if is_typeddict(annotation) else annotation)
    except Exception:  # several errors of pydantic's own, and those of the annotation's own code
        return None


def _with_readable_keys(annotation: Any) -> Any:
    """The same TypedDict as one of typing_extensions: before Python 3.12 pydantic takes no other."""
    from typing import NotRequired, Required

    from typing_extensions import TypedDict, get_type_hints

    needed = annotation.__required_keys__
    hints = get_type_hints(annotation)
    keys = {key: Required[kind] if key in needed else NotRequired[kind] for key, kind in hints.items()}
    return TypedDict(annotation.__name__, keys)  # type: ignore[operator]
