"""Which framework an object belongs to, of those that are installed."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from agentdeck import plugins
from agentdeck.agents.frameworks.framework import Framework, is_called_directly, recognised
from agentdeck.plugins import Loaded, PluginError


def framework_of(found: object) -> Framework | None:
    """The framework that calls this object; None for a function, and what else is called directly. Raises
    TypeError for an object that cannot be called at all."""
    if is_called_directly(found):
        return None
    return recognised(found, loaded().objects)


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
