"""Generators, async or not: what a function with `yield` gives. The text that it yields is its output as it
comes."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing
from functools import partial
from typing import Any

from agentdeck.agents.frameworks.framework import CallInput, Framework, InnerEvent, Result, Text

_END = object()


class Generators(Framework):
    """Yielded text is streamed. The result is the last value that is no text, else all of the text."""

    def recognises(self, found: object) -> bool:
        return inspect.isasyncgen(found) or inspect.isgenerator(found)

    def alone(self, found: Any) -> bool:
        return inspect.isgenerator(found)

    async def call(self, found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        items = found if inspect.isasyncgen(found) else _in_threads(found, given.in_thread)
        result, text = _END, list[str]()
        async with aclosing(items):
            async for item in items:
                if not isinstance(item, str):
                    result = item
                    continue
                yield Text("", item)
                if result is _END:
                    text.append(item)
        yield Result("".join(text) if result is _END else result)


async def _in_threads(
    found: Generator[Any, None, Any], in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
) -> AsyncGenerator[Any, None]:
    """The items of a generator, each computed in a thread, as that may block."""
    while (item := await in_thread(partial(next, found, _END))) is not _END:
        yield item
