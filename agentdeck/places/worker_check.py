"""Whether a worker of a cluster can execute what a run has for it: Python, agentdeck, the code of its agents."""

from __future__ import annotations

import asyncio
import json
import platform
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agentdeck import __version__
from agentdeck.errors import StepError
from agentdeck.places.code import CodeFacts, found, imported, packed
from agentdeck.places.remote_host import RemoteHost

#: An expression whose value says which Python a worker has, and which agentdeck (empty: none).
PROBE = (
    "(lambda found: __import__('json').dumps([__import__('platform').python_version(),"
    " __import__('agentdeck').__version__ if found else '']))"
    "(__import__('importlib.util').util.find_spec('agentdeck'))"
)


class WorkerCheck:
    """What each worker has to have. `targets` are what agents name, each with the folder of its workflow. `ship`:
    these folders are brought there."""

    def __init__(self, place: str, targets: Iterable[tuple[str, str]], ship: bool) -> None:
        self._place, self._targets, self._ship = place, list(dict.fromkeys(targets)), ship
        #: Whether a call of a target needs a process for itself, as the first worker has found out.
        self.alone: dict[tuple[str, str], bool] = {}
        self._packages: dict[str, bytes] = {}
        self._compared: list[tuple[str, str]] = []  # the targets, and modules that they import
        self._facts: list[CodeFacts | None] = []

    async def prepare(self) -> None:
        """Look at the code on this machine. Raises UsageError where it cannot be shipped."""
        if self._ship:
            for folder in {folder for _, folder in self._targets}:
                _, package = await asyncio.to_thread(packed, Path(folder))
                self._packages[folder] = b64encode(package)
        else:
            self._facts = await asyncio.to_thread(self._facts_here)

    def _facts_here(self) -> list[CodeFacts | None]:
        """Of what is compared; None for modules that only the workers have."""
        modules = dict.fromkeys((target.partition(":")[0], folder) for target, folder in self._targets)
        beside = [(name, folder) for module, folder in modules for name in imported(module, Path(folder))]
        self._compared = list(dict.fromkeys((*self._targets, *beside)))
        facts: list[CodeFacts | None] = []
        for target, folder in self._compared:
            try:
                facts.append(found(target, Path(folder)))
            except StepError:
                facts.append(None)
        return facts

    def versions(self, worker: str, answer: str) -> str:
        """What is wrong with the versions that a worker reports; empty where nothing is."""
        python, agentdeck = json.loads(answer)
        here = platform.python_version()
        if python.split(".")[:2] != here.split(".")[:2]:
            return (
                f"{worker} has Python {python}, and the engine has {here}; they must have the same minor version"
            )
        if not agentdeck:
            return f"{worker} has no agentdeck; install agentdeck {__version__} there"
        if agentdeck != __version__:
            return f"{worker} has agentdeck {agentdeck}, and the engine has {__version__}; they must be the same"
        return ""

    async def code(self, host: RemoteHost, run: str) -> str:
        """What is wrong with the code of a worker; empty where nothing is. Raises HostGone."""
        try:
            for folder, package in self._packages.items():
                await host.ask("code", folder, package)
            if self._targets and not self._ship:
                there = await host.ask("facts", self._compared)
                for (target, _), mine, its in zip(self._compared, self._facts, there, strict=True):
                    if what := self._difference(target, mine, its):
                        return f"{host.name}: {what}"
            for target, folder in self._targets:
                self.alone[target, folder] = await host.prepare(target, folder, run)
        except StepError as error:
            return f"{host.name}: {error}"
        return ""

    def _difference(self, target: str, mine: CodeFacts | None, its: Any) -> str:
        module, _, name = target.partition(":")
        if isinstance(its, str) and not name:
            return ""  # where it is needed, its import says so
        if isinstance(its, str):
            return f"{its}; install it there, or write code: ship at the place {self._place}"
        if mine is None or mine.sha256 == its[2]:
            return ""
        return (
            f"the module {module} is not the same there ({its[1]}, sha256 {its[2][:12]}) as here"
            f" ({mine.file}, sha256 {mine.sha256[:12]}); update one of them, or write code: ship"
        )
