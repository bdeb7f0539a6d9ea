"""The seam `agentdeck.frameworks`: recognises an object of a framework, and turns it and its input into a call.

[project.entry-points."agentdeck.frameworks"]
acme = "acme_agentdeck:AcmeFramework"
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple, TypeAlias

from agentdeck import plugins
from agentdeck.plugins import Loaded, PluginError
from agentdeck.workflow.model import Data


class Result(NamedTuple):
    """The result of a call: the last event, exactly one. It is converted to plain data afterwards."""

    value: Any


#: What happens inside a call. Today only its result.
InnerEvent: TypeAlias = Result


@dataclass(frozen=True, slots=True)
class CallInput:
    """What a call gets. `values` is all that the object may read: inputs, needs and `with`, by name. `in_thread`
    calls a function that is not a coroutine, in a thread, and returns its result; when the attempt is cancelled,
    the thread is left behind, and the step's log says so."""

    values: dict[str, Data]
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]


class Framework(ABC):
    """A family of objects that are called in the same way. One object serves all agents."""

    #: Whether objects are only taken that no other framework recognises, and that are no functions.
    fallback: ClassVar[bool] = False

    @abstractmethod
    def recognises(self, found: object) -> bool:
        """Whether the object belongs to this family. It looks at the object's own class and imports nothing:
        where the framework is not installed there is no such object."""

    @abstractmethod
    def call(self, found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        """Call the object once, and yield what happens inside, the result last. Exceptions of the object are
        raised as they are. A cancellation is honoured within a second."""


def framework_of(found: object) -> Framework | None:
    """The framework that calls this object; None for a function, and what else is called directly. Raises
    TypeError for an object that cannot be called at all."""
    if inspect.isroutine(found) or inspect.isclass(found) or isinstance(found, functools.partial):
        return None
    known = [framework for framework in frameworks() if _recognises(framework, found)]
    for framework in known:
        if not framework.fallback:
            return framework
    if callable(found):
        return None
    if known:
        return known[0]
    raise TypeError(
        f"a {type(found).__name__} cannot be called; name a function, or an object of a framework "
        f"(known are {', '.join(plugins.names('frameworks'))})"
    )


def _recognises(framework: Framework, found: object) -> bool:
    try:
        return framework.recognises(found)
    except Exception:  # an attribute of the object raises, or the framework's own code: others may know it
        return False


def frameworks() -> Iterable[Framework]:
    """The frameworks that are installed and load."""
    return loaded().objects.values()


@cache
def loaded() -> Loaded:
    """The frameworks that are installed, and those that do not load."""
    return plugins.load("frameworks", make_framework)


def make_framework(name: str, found: Any) -> Framework:
    """The object of a plugin. Raises PluginError for one that is no framework."""
    if not (isinstance(found, type) and issubclass(found, Framework)):
        raise PluginError("it is not a subclass of agentdeck.agents.frameworks.framework.Framework")
    return found()
