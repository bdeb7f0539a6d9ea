"""A framework whose objects play what a test writes: an object with the events of each call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path
from typing import Any

from agentdeck.agents.frameworks.framework import CallInput, Framework, InnerEvent
from tests.plugin_packages import write_package

#: What a call yields, from its input; an exception is raised, a function is awaited.
Play = Callable[[CallInput], Iterable[Any]]


class Script:
    """An object of the framework. `calls` are the inputs that it got."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.calls: list[CallInput] = []


class Scripted(Framework):
    """Plays scripts."""

    def recognises(self, found: object) -> bool:
        return isinstance(found, Script)

    async def call(self, found: Script, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        found.calls.append(given)
        for one in found.play(given):
            if isinstance(one, Exception):
                raise one
            if callable(one):
                await one()
            else:
                yield one


def write_scripted(folder: Path) -> None:
    """The package that makes scripts known."""
    write_package(folder, "scripted", {"frameworks": {"scripted": "tests.agents.scripted:Scripted"}}, {})
