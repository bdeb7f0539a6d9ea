"""Which framework an object belongs to, of those that are installed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from functools import cache
from typing import Any

from agentdeck import plugins
from agentdeck.agents.frameworks.framework import Framework
from agentdeck.plugins import Loaded, PluginError


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
