"""Objects with a method of a usual name: what is left when no other framework recognises an object."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from agentdeck.agents.frameworks.framework import CallInput, Framework, InnerEvent, Result

#: The first of these that an object has is called, with one map of all that it may read.
METHODS = ("ainvoke", "arun", "kickoff_async", "invoke", "run", "kickoff")


class ObjectsWithMethods(Framework):
    """Objects with one of METHODS, as LangGraph's graphs and CrewAI's crews have them."""

    fallback = True

    def recognises(self, found: object) -> bool:
        return _method(found) is not None

    def alone(self, found: Any) -> bool:
        return not inspect.iscoroutinefunction(_method(found))

    async def call(self, found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        method = _method(found)
        if inspect.iscoroutinefunction(method):
            result = await method(given.values)
        else:
            assert method is not None
            result = await given.in_thread(partial(method, given.values))
        yield Result(await result if inspect.isawaitable(result) else result)


def _method(found: Any) -> Any:
    for name in METHODS:
        method = getattr(found, name, None)
        if callable(method):
            return method
    return None
