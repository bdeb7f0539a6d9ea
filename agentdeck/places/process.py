"""`process`: child processes of a Python interpreter that may have other packages than agentdeck's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from agentdeck import __version__
from agentdeck.agents.secret_masking import masked
from agentdeck.agents.verb import Verb, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.places.child_pool import ChildPool
from agentdeck.places.child_process import ChildCall
from agentdeck.places.environment import usual
from agentdeck.places.place import Place
from agentdeck.places.remote_verb import RemoteVerb
from agentdeck.places.report import PlaceReport, WorkerReport
from agentdeck.processes.children import Children
from agentdeck.workflow.agent_kind import kind_of
from agentdeck.workflow.deck import DeckPlace
from agentdeck.workflow.model import Agent

if TYPE_CHECKING:
    from agentdeck.workflow.deck_file import PlaceSpec

#: Seconds in which an interpreter has to tell its version.
PROBE = 10.0
#: Questions to a process that reports: the shortest answer counts.
QUESTIONS = 4
_VERSION = "import sys; print('python', *sys.version_info[:2])"


class ProcessPlace(Place):
    """Attempts run in child processes, which are started when they are needed, and stay until the run is over."""

    def __init__(self, config: DeckPlace) -> None:
        super().__init__(config)
        options = config.options
        self._python = interpreter(config)
        self._names = tuple(options.get("env", ()))
        self._cwd = None if "cwd" not in options else config.folder / Path(options["cwd"]).expanduser()
        self._pool: ChildPool | None = None

    @classmethod
    def spec(cls) -> type[PlaceSpec]:
        from agentdeck.places.process_keys import ProcessPlaceSpec

        return ProcessPlaceSpec

    @classmethod
    def faults(cls, config: DeckPlace) -> Iterator[tuple[str, str, str]]:
        python = interpreter(config)
        if what := _unusable(python):
            yield "python", f"the place {config.name} has no Python: {what}", ""
        cwd = config.options.get("cwd")
        if cwd is not None and not (folder := config.folder / Path(cwd).expanduser()).is_dir():
            yield "cwd", f"there is no folder {folder}", "make it, or change cwd"

    def prepare(self, agent: Agent, context: WorkflowContext) -> Verb:
        kind = kind_of(agent)
        if not kind.places:
            raise StepError("setup", f"{kind.verb} agents run in the engine; remove place from {agent.name}")
        if self._pool is None:
            config, cwd = self.config, self._cwd
            self._pool = ChildPool(config.name, [self._python], self._environment, cwd, context.children)
        return masked(RemoteVerb(kind.target(agent), context, self._pool), context)

    async def report(self, children: Children) -> PlaceReport:
        for _, problem, fix in await anyio.to_thread.run_sync(list, self.faults(self.config)):
            return PlaceReport(problem=f"{problem}; {fix}" if fix else problem)
        self._pool = ChildPool(self.config.name, [self._python], self._environment, self._cwd, children)
        try:
            answers = [await _Question(number).ask(self._pool) for number in range(QUESTIONS)]
        except StepError as error:
            return PlaceReport(problem=str(error))
        python, latency = answers[0][0], min(seconds for _, seconds in answers[1:])  # the first one starts it
        worker = WorkerReport(self._python, python=python, agentdeck=__version__, latency=latency)
        return PlaceReport((worker,))

    def _environment(self) -> dict[str, str]:
        return usual(self._names)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()


class _Question(ChildCall):
    """Has a child find something that every Python has."""

    target = "builtins:len"
    lost = ""

    async def ask(self, pool: ChildPool) -> tuple[str, float]:
        """The version of the child's Python, and the seconds to its answer. Raises StepError."""
        asked = time.monotonic()
        message = {
            "do": "prepare", "id": self.number, "target": self.target, "folder": "/", "attempt": ["", "", "", 0],
            "deadline": None, "scope": {"needs": {}}, "env": {},
        }  # fmt: skip
        await pool.begin(self, self.target, True, json.dumps(message).encode())
        await self.ended.wait()
        if self.lost or self.child is None:
            raise StepError("setup", self.lost)
        return self.child.python, time.monotonic() - asked

    def take(self, kind: str, line: bytes) -> None:
        if kind == "lost":
            self.lost = json.loads(line)[2]


def interpreter(config: DeckPlace) -> str:
    """The path of a place's interpreter; the engine's own where the deck names none."""
    python: str | None = config.options.get("python")
    if python is None:
        return sys.executable
    if os.sep not in python:
        return shutil.which(python) or python
    return os.path.normpath(config.folder / Path(python).expanduser())


def _unusable(python: str) -> str:
    """Why an interpreter cannot run children, as far as it says itself; empty where it can."""
    if not Path(python).exists():
        folder = Path(python).parents[1] if Path(python).parent.name in ("bin", "Scripts") else "FOLDER"
        return f"there is no {python}; python3 -m venv {folder} makes it, then install there what the agents need"
    if Path(python).is_dir() or not os.access(python, os.X_OK):
        return f"{python} is not a program that can be executed"
    try:
        done = subprocess.run(
            [python, "-I", "-c", _VERSION], capture_output=True, text=True, timeout=PROBE, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return f"{python} did not answer within {PROBE:g} s; is it a Python?"
    except OSError as error:
        return f"{python} cannot be started: {error.strerror}"
    word, *version = done.stdout.split()[:3] or [""]
    if done.returncode or word != "python" or not all(part.isdigit() for part in version):
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        return f"{python} is not a Python" + (f": {said[0][:200]}" if said else "")
    if tuple(map(int, version)) < (3, 10):
        return f"{python} is Python {'.'.join(version)}, and at least 3.10 is needed"
    return ""
