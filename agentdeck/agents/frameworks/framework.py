"""The seam `agentdeck.frameworks`: recognises an object of a framework, and turns it and its input into a call.

[project.entry-points."agentdeck.frameworks"]
acme = "acme_agentdeck:AcmeFramework"

The modules of this package that call frameworks import nothing but the standard library, this module and, when
they are called, the framework: they also run in interpreters that do not have agentdeck.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypeAlias

#: The names under which an input is looked for that is one text.
TEXT_NAMES = ("prompt", "input", "message", "task", "question", "text")


class Started(NamedTuple):
    """An inner step began. `parent` is the id of the one around it, empty where there is none; `kind` is a word
    such as node, model or tool."""

    id: str
    parent: str
    name: str
    kind: str = ""
    input: Any = None


class Text(NamedTuple):
    """A piece of text that an inner step gave, or the object itself where the id is empty."""

    id: str
    delta: str


class Used(NamedTuple):
    """The tokens of one call of a model, None where they are not known. `tokens_in` includes `cached_in`. `id` is
    the inner step that made it, empty for the object itself."""

    id: str
    model: str
    tokens_in: int | None
    tokens_out: int | None
    cached_in: int | None = None


class Asked(NamedTuple):
    """A question to the operator. A call with questions ends after the last of them, without a result. It is
    called again with the answers, by these ids. `schema` is the JSON Schema of the answer, None for any."""

    id: str
    question: str
    schema: Mapping[str, Any] | None = None
    shows: Any = None


class Ended(NamedTuple):
    """An inner step ended, well or with an error."""

    id: str
    output: Any = None
    error: str = ""


class Result(NamedTuple):
    """The result of a call: the last event, exactly one, unless there are questions. It is converted to plain
    data afterwards."""

    value: Any


#: What happens inside a call, in the order in which it happens.
InnerEvent: TypeAlias = Started | Text | Used | Asked | Ended | Result


async def _direct(call: Callable[[], Any]) -> Any:
    return call()


@dataclass(frozen=True, slots=True)
class CallInput:
    """What a call gets. `values` is all that the object may read: inputs, needs and `with`, by name. `in_thread`
    calls a function that is not a coroutine, in a thread, and returns its result; when the attempt is cancelled,
    the thread is left behind, and the step's log says so.

    `thread` names this piece of work: it stays the same in every attempt at it, also in another process, and is
    another one for other inputs. `checkpoints` is the path of a SQLite file in which a framework may keep where
    it was, by `thread`. `answers` holds those to the questions of the call before this one, by id."""

    values: dict[str, Any]
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]] = _direct
    thread: str = ""
    checkpoints: str = ""
    answers: Mapping[str, Any] = field(default_factory=dict)


class Framework(ABC):
    """A family of objects that are called in the same way. One object serves all agents."""

    #: Whether objects are only taken that no other framework recognises, and that are no functions.
    fallback: ClassVar[bool] = False

    def prepare_interpreter(self) -> None:  # noqa: B027 - few have to
        """Called in an interpreter that only executes agents, before anything of theirs is imported. Only there
        may it set variables of the environment."""

    def alone(self, found: Any) -> bool:
        """Whether a call of the object may block a thread, or must not run beside another call. In an interpreter
        of its own it then has a process to itself, which can be ended."""
        return False

    @abstractmethod
    def recognises(self, found: object) -> bool:
        """Whether the object belongs to this family. It looks at the object's own class and imports nothing:
        where the framework is not installed there is no such object."""

    @abstractmethod
    def call(self, found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        """Call the object once, and yield what happens inside, the result last. Exceptions of the object are
        raised as they are. A cancellation is honoured within a second: where the framework has a handle of its
        own that ends a call, it is used first."""


def is_called_directly(found: object) -> bool:
    """Whether this is a function, and no object that may belong to a framework."""
    return inspect.isroutine(found) or inspect.isclass(found) or isinstance(found, functools.partial)


def recognised(found: object, frameworks: Mapping[str, Framework]) -> Framework | None:
    """Which of these frameworks, by name, calls an object; None for one that is called directly. Raises TypeError
    for an object that cannot be called at all."""
    known = [framework for framework in frameworks.values() if _recognises(framework, found)]
    for framework in known:
        if not framework.fallback:
            return framework
    if callable(found):
        return None
    if known:
        return known[0]
    raise TypeError(
        f"a {type(found).__name__} cannot be called; name a function, or an object of a framework "
        f"(known are {', '.join(frameworks)})"
    )


def _recognises(framework: Framework, found: object) -> bool:
    try:
        return framework.recognises(found)
    except Exception:  # an attribute of the object raises, or the framework's own code: others may know it
        return False


def make_private(path: str) -> None:
    """Make this file, if it is not there, so that only its owner can read it: it will hold what agents read and
    wrote."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def is_from(found: object, package: str) -> bool:
    """Whether the class of an object, or one that it is derived from, is defined in this package."""
    return any(
        one.__module__ == package or one.__module__.startswith(f"{package}.") for one in type(found).__mro__
    )


def is_a(found: object, package: str, name: str) -> bool:
    """Whether an object is of the class of this name that a package defines, or of one derived from it."""
    return any(
        one.__name__ == name and one.__module__.partition(".")[0] == package for one in type(found).__mro__
    )


def text_of(values: Mapping[str, Any]) -> str:
    """The input of an object that takes one text: the value with one of TEXT_NAMES, else the only value, else all
    of them as JSON."""
    for name in TEXT_NAMES:
        if isinstance(values.get(name), str):
            found: str = values[name]
            return found
    only = next(iter(values.values())) if len(values) == 1 else values
    return only if isinstance(only, str) else json.dumps(only, ensure_ascii=False, default=str)
