"""`process`: child processes of a Python interpreter that may have other packages than agentdeck's."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from agentdeck import plugins
from agentdeck.agents.foreign_code import contained
from agentdeck.agents.frameworks.framework import (
    Asked,
    CallInput,
    Ended,
    Framework,
    InnerEvent,
    Result,
    Started,
    Text,
    Used,
)
from agentdeck.agents.object_call import ObjectCaller
from agentdeck.agents.secret_masking import masked
from agentdeck.agents.verb import NOW, AttemptContext, Verb, WorkflowContext
from agentdeck.errors import Fault, StepError
from agentdeck.places.child_process import ChildProcess, RemoteCall
from agentdeck.places.place import Place
from agentdeck.processes.children import Children
from agentdeck.workflow.agent_kind import kind_of
from agentdeck.workflow.deck import DeckPlace
from agentdeck.workflow.expressions import LIGHT
from agentdeck.workflow.json_text import json_text, room_left
from agentdeck.workflow.model import Agent, Data

if TYPE_CHECKING:
    from agentdeck.workflow.deck_file import PlaceSpec

#: Calls of coroutines that one child executes at once.
SHARED = 32
#: Variables of the engine's environment that every child gets; `env` names others.
USUAL = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "SYSTEMROOT"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
)
#: Seconds in which an interpreter has to tell its version.
PROBE = 10.0
_VERSION = "import sys; print('python', *sys.version_info[:2])"
_EVENTS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in (Started, Text, Used, Asked, Ended)}


class ProcessPlace(Place):
    """Attempts run in child processes, which are started when they are needed, and stay until the run is over."""

    def __init__(self, config: DeckPlace) -> None:
        super().__init__(config)
        options = config.options
        self._python = interpreter(config)
        self._names = tuple(options.get("env", ()))
        self._cwd = None if "cwd" not in options else config.folder / Path(options["cwd"]).expanduser()
        self._pool: list[ChildProcess] = []
        self._numbers = itertools.count(1)
        self._sharing = asyncio.Lock()
        self._frameworks = {
            one.name: one.target for one in plugins.installed("frameworks") if one.package == plugins.BUILT_IN
        }

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
        return masked(ProcessVerb(kind.target(agent), context, self), context)

    # Its children

    def number(self) -> int:
        return next(self._numbers)

    async def child(self, target: str, children: Children, exclusive: bool) -> ChildProcess:
        """A child for one more call, which the caller adds at once."""
        if exclusive:
            return self._free(target, True) or await self._start(children)
        async with self._sharing:  # of calls that come at once, one starts a child for all of them
            found = self._free(target, False) or await self._start(children)
            found.exclusive = False
            found.known.add(target)
            return found

    def _free(self, target: str, exclusive: bool) -> ChildProcess | None:
        """A child that can take one more call, best one that knows the target."""
        free = [one for one in self._pool if not one.retired and not one.exclusive]
        if exclusive:
            free = [one for one in free if not one.calls]
        else:
            # An import would stop the calls that are under way.
            free = [one for one in free if not one.calls or (target in one.known and len(one.calls) < SHARED)]
        if not free:
            return None
        found = max(free, key=lambda one: (target in one.known, len(one.calls)))
        found.exclusive = exclusive
        found.known.add(target)
        return found

    async def _start(self, children: Children) -> ChildProcess:
        """A new child, exclusive for the caller."""
        env = {name: os.environ[name] for name in (*USUAL, *self._names) if name in os.environ}
        env |= {name: value for name, value in os.environ.items() if name.startswith("LC_")}
        made = ChildProcess(self.config.name, [self._python], env, self._cwd)
        made.exclusive = True
        self._pool = [*(one for one in self._pool if not one.gone.is_set()), made]
        await made.start(children, self._frameworks)
        return made

    async def close(self) -> None:
        await asyncio.gather(*(one.close() for one in self._pool))


class ProcessVerb:
    """Executes the attempts of one agent in children. Whether a call needs a child for itself is what the first
    one finds out."""

    def __init__(self, target: str, context: WorkflowContext, place: ProcessPlace) -> None:
        self._target = target
        self._context = context
        self._place = place
        self._folder = str(context.folder.resolve())
        self._objects = ObjectCaller(target, context, _no_thread)
        self._alone: bool | None = None
        self._preparing = asyncio.Lock()

    async def run(self, work: AttemptContext) -> Data:
        if self._alone is None:
            async with self._preparing:
                if self._alone is None:
                    self._alone = await self._prepare(work)
        try:
            found: Data = await self._objects.call(_Remote(self._call), work, work)
        except BaseException as error:
            raise contained(error) from None
        return found

    async def _prepare(self, work: AttemptContext) -> bool:
        async with aclosing(self._messages(work, "prepare", None, True)) as messages:
            async for message in messages:
                if message[0] == "prepared":
                    return bool(message[2])
        raise AssertionError("a call ends with its last message")

    async def _call(self, work: AttemptContext, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        """What happens in one call. A call with questions ends without a result."""
        assert self._alone is not None
        asked = False
        alone = self._alone or bool(work.gateway)  # a process has only one environment
        async with aclosing(self._messages(work, "call", given, alone, work.gateway)) as messages:
            async for message in messages:
                if message[0] == "event":
                    event = _EVENTS[message[2]](*message[3])
                    asked = asked or isinstance(event, Asked)
                    yield event
                elif not asked:
                    yield Result(message[2])

    async def _messages(
        self,
        work: AttemptContext,
        what: str,
        given: CallInput | None,
        exclusive: bool,
        variables: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[list[Any], None]:
        """Have a child do something for an attempt; gives its messages. Raises what it reports."""
        call = RemoteCall(self._place.number(), work)
        text = await self._message(call, what, given, variables or {})
        child = await self._place.child(self._target, self._context.children, exclusive)
        child.add(call)
        try:
            child.send_text(text)
            async for message in call.messages():
                if message[0] == "fault":
                    raise _error(message[2])
                if message[0] == "cancelled":
                    raise asyncio.CancelledError
                yield message
        except (asyncio.CancelledError, GeneratorExit) as cancelled:
            if not call.ended.is_set():
                await child.cancel(call, NOW in cancelled.args)
            raise
        finally:
            if call.ended.is_set() or child.gone.is_set():
                child.release(call)

    async def _message(
        self, call: RemoteCall, what: str, given: CallInput | None, variables: Mapping[str, str]
    ) -> str:
        work = call.work
        needs = work.scope.get("needs") or {}
        scope = {name: value for name, value in work.scope.items() if needs.get(name, _NONE) is not value}
        message: dict[str, Any] = {
            "do": what,
            "id": call.number,
            "target": self._target,
            "folder": self._folder,
            "attempt": [work.run, work.task, work.step, work.attempt],
            "deadline": work.deadline,
            "scope": {**scope, "needs": needs},
            "with": work.with_,
            "has_needs": bool(work.agent.needs),
            "env": variables,
        }
        if given is not None:
            answers = dict(given.answers)
            message |= {"thread": given.thread, "checkpoints": given.checkpoints, "answers": answers}
        if room_left(message, LIGHT) >= 0:
            return json.dumps(message)
        return await anyio.to_thread.run_sync(partial(_as_text, message))


def _as_text(message: dict[str, Any]) -> str:
    return json_text(message, dump=json.dumps)


_NONE = object()


class _Remote(Framework):
    """Stands for whatever an agent names in the other interpreter: its inner events come from there."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def recognises(self, found: object) -> bool:
        return False

    def call(self, found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        events: AsyncGenerator[InnerEvent, None] = self._call(found, given)
        return events


async def _no_thread(*_: Any) -> Any:
    raise AssertionError("the child has the threads")


def _error(fault: list[Any]) -> StepError:
    """What the child reports that the agent's code has raised."""
    made = StepError(fault[0], fault[1])
    made.fault = Fault(*fault)
    return made


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
