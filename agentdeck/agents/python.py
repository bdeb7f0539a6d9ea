"""`python: module:name`: functions, async or not, and objects of known shapes."""

from __future__ import annotations

import asyncio
import inspect
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from agentdeck.agents.capture import current, finish
from agentdeck.agents.result import to_data
from agentdeck.agents.verb import Setting, Work
from agentdeck.errors import AgentdeckError, Permanent, StepError
from agentdeck.workflow.bindings import resolve
from agentdeck.workflow.model import Agent, Data, Python

HERE = str(Path(__file__).resolve().parents[1])
#: How objects that are no functions are called: the first of these they have, with one map of what they may read.
METHODS = ("ainvoke", "arun", "kickoff_async", "invoke", "run", "kickoff")


class Context:
    """What a function gets as `ctx`."""

    __slots__ = ("_cancelled", "_work")

    def __init__(self, work: Work, cancelled: threading.Event | None = None) -> None:
        self._work = work
        self._cancelled = cancelled

    def log(self, text: str, level: str = "info") -> None:
        """Say something in this agent's log. From any thread."""
        self._work.log(str(text), level)

    def alive(self) -> None:
        """A sign of life: the idle clock starts anew."""
        self._work.alive()

    def cancelled(self) -> bool:
        """Whether this attempt is over for everybody else. A function in a thread cannot be stopped; one that
        works long asks now and then."""
        return self._cancelled is not None and self._cancelled.is_set()

    @property
    def deadline(self) -> float | None:
        return self._work.deadline

    @property
    def attempt(self) -> int:
        return self._work.attempt

    @property
    def run(self) -> str:
        return self._work.run

    @property
    def task(self) -> str:
        return self._work.task

    @property
    def step(self) -> str:
        return self._work.step

    @property
    def id(self) -> str:
        """Run, task, step and attempt in one word."""
        return self._work.id


class PythonVerb:
    """Calls one function. Its signature is looked at once, here."""

    def __init__(self, agent: Agent, setting: Setting) -> None:
        assert isinstance(agent.does, Python)
        found = setting.functions.get(agent.name)
        self._target = agent.does.target
        self._function, whole = _callable(resolve(self._target, setting.folder) if found is None else found)
        self._whole = whole
        self._names: list[tuple[str, bool]] = []
        self._rest = False
        if not whole and not _takes_nothing(self._function):
            for parameter in inspect.signature(self._function).parameters.values():
                if parameter.kind is parameter.VAR_KEYWORD:
                    self._rest = True
                elif parameter.kind is not parameter.VAR_POSITIONAL:
                    self._names.append((parameter.name, parameter.default is parameter.empty))
        self._async = inspect.iscoroutinefunction(self._function) or inspect.iscoroutinefunction(
            getattr(self._function, "__call__", None)  # noqa: B004
        )
        self._limiter = None if self._async else anyio.CapacityLimiter(10_000)

    async def run(self, work: Work) -> Data:
        token = current.set(work.log)
        try:
            if self._async:
                result = await self._function(**self._arguments(work, None))
            else:
                result = await self._in_thread(work)
            return to_data(result)
        except (AgentdeckError, asyncio.CancelledError) as error:
            if isinstance(error, Permanent):
                raise StepError("permanent", str(error) or "permanent", detail=_trace(error)) from None
            raise
        except BaseException as error:
            # SystemExit, KeyboardInterrupt and GeneratorExit too: an agent ends itself, never the run.
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            if not isinstance(error, Exception):
                what = f"raised {what}"
            raise StepError("exception", what, detail=_trace(error)) from None
        finally:
            finish(work.log)
            current.reset(token)

    async def _in_thread(self, work: Work) -> Any:
        cancelled = threading.Event()
        arguments = self._arguments(work, cancelled)
        try:
            result = await anyio.to_thread.run_sync(
                lambda: _shielded(self._function, arguments), abandon_on_cancel=True, limiter=self._limiter
            )
        except asyncio.CancelledError:
            cancelled.set()
            raise
        if isinstance(result, _Raised):
            raise result.error
        return await result if inspect.isawaitable(result) else result

    def _arguments(self, work: Work, cancelled: threading.Event | None) -> dict[str, Any]:
        if not self._names and not self._rest and not self._whole:
            return {}
        scope, with_ = work.scope, work.with_
        inputs = scope.get("inputs") or {}
        if self._whole:
            return {self._whole: {**inputs, **(scope.get("needs") or {}), **with_}}
        found: dict[str, Any] = {}
        for name, needed in self._names:
            if name in with_:
                found[name] = with_[name]
            elif name == "ctx":
                found[name] = Context(work, cancelled)
            elif name in scope:
                found[name] = scope[name]
            elif name in inputs:
                found[name] = inputs[name]
            elif needed:
                what = f"{self._target} takes {name}, which is no input, no need and not in with"
                raise StepError("setup", what)
        if self._rest:
            more: Mapping[str, Any] = with_ if work.agent.needs else {**inputs, **with_}
            found.update({name: value for name, value in more.items() if name not in found})
        return found


def _takes_nothing(function: Callable[..., Any]) -> bool:
    """Told without `inspect`, which takes longer than a small agent's whole step."""
    code = getattr(function, "__code__", None)
    flags = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
    return (
        code is not None
        and not (code.co_argcount or code.co_kwonlyargcount or code.co_flags & flags)
        and not hasattr(function, "__wrapped__")
    )


class _Raised:
    """What a function in a thread raised. Passed back as a value: SystemExit must not end the thread's pool."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _shielded(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    try:
        return function(**arguments)
    except BaseException as error:
        return _Raised(error)


def _callable(found: Any) -> tuple[Callable[..., Any], str]:
    """What to call, and the name of its one parameter if it takes everything in one map."""
    if inspect.isroutine(found) or inspect.isclass(found):
        return found, ""
    for name in METHODS:
        method = getattr(found, name, None)
        if callable(method):
            parameters = [p.name for p in inspect.signature(method).parameters.values()]
            return method, parameters[0] if parameters else ""
    if callable(found):
        return found, ""
    raise StepError("setup", f"a {type(found).__name__} cannot be called; name a function")


def _trace(error: BaseException) -> str:
    """The traceback, from the first frame that is not ours."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(HERE)]
    lines = [*traceback.format_list(frames[-20:]), *traceback.format_exception_only(error)]
    return "".join(lines)[-8000:]
