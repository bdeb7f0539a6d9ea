"""`python: module:name`: calls functions, async or not, and objects of known shapes."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple

import anyio
import anyio.to_thread

from agentdeck.agents.foreign_code import contained, step_error
from agentdeck.agents.frameworks.framework import Framework
from agentdeck.agents.frameworks.known import framework_of
from agentdeck.agents.loop_interrupt import foreign
from agentdeck.agents.object_call import ObjectCaller
from agentdeck.agents.output_capture import AttemptOutput, current
from agentdeck.agents.parameters import Converter, convert, converters
from agentdeck.agents.plain_data import data_of, is_short, to_data
from agentdeck.agents.python import Python
from agentdeck.agents.verb import AttemptContext, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.workflow.functions import resolve
from agentdeck.workflow.model import Agent, Data

OPEN_ENDED = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
#: Names of the scope that an input with the same name overrides.
HIDDEN = frozenset({"run", "task"})
#: Results of these types are no objects of a framework.
PLAIN = (str, bytes, int, float, dict, list, tuple, set)


class Context:
    """The argument `ctx` of a function. `id` is run, task, step and attempt as one string."""

    __slots__ = ("_cancelled", "_work", "attempt", "deadline", "id", "run", "step", "task")

    def __init__(self, work: AttemptContext, cancelled: threading.Event | None = None) -> None:
        self._work = work
        self._cancelled = cancelled
        self.run, self.task, self.step, self.attempt = work.run, work.task, work.step, work.attempt
        self.id, self.deadline = work.id, work.deadline

    def log(self, text: str, level: str = "info") -> None:
        """Write to this agent's log. From any thread."""
        self._work.log(str(text), level)

    def alive(self) -> None:
        """Show a sign of life: the idle clock starts again."""
        self._work.alive()

    def cancelled(self) -> bool:
        """Whether this attempt has been cancelled. A function in a thread cannot be stopped; one that runs for
        long should check this."""
        return self._cancelled is not None and self._cancelled.is_set()


class PythonVerb:
    """Calls one function. Its signature is inspected once, when the verb is made."""

    def __init__(self, agent: Agent, setting: WorkflowContext) -> None:
        assert isinstance(agent.does, Python)
        found = setting.functions.get(agent.name)
        self._target = agent.does.target
        self._function = resolve(self._target, setting.folder) if found is None else found
        try:
            self._framework = framework_of(self._function)
        except TypeError as error:
            raise StepError("setup", str(error)) from None
        self._objects = ObjectCaller(self._target, setting, self._in_thread)
        self._names: list[tuple[str, bool]] = []
        self._rest = False
        self._converters: Mapping[str, Converter] = {}
        self._async = self._framework is None and _is_async(self._function)
        self._limiter = None if self._async else anyio.CapacityLimiter(10_000)
        if self._framework is None and not _takes_nothing(self._function):
            self._read_signature()
        self._bare = not (self._names or self._rest)

    def _read_signature(self) -> None:
        try:
            parameters = inspect.signature(self._function).parameters.values()
        except (TypeError, ValueError):
            what = f"{self._target} has no readable signature; name a function of your own that calls it"
            raise StepError("setup", what) from None
        for parameter in parameters:
            if parameter.kind is parameter.VAR_KEYWORD:
                self._rest = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                self._names.append((parameter.name, parameter.default is parameter.empty))
        self._converters = converters(self._function, self._target)
        if first := [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]:
            self._function = _by_place(self._function, first)

    @foreign
    async def run(self, work: AttemptContext) -> Data:
        output = AttemptOutput(work.log)
        token = current.set(output)
        try:
            if self._framework is not None:
                return await data_of(await self._objects.call(self._framework, self._function, work))
            if not self._async:
                return await self._call_function(work)
            if self._bare:
                result = await self._function()
                if (framework := _made(result)) is not None:
                    result = await self._objects.call(framework, result, work)
            else:
                arguments = self._arguments(work, None)
                if self._converters:
                    await convert(arguments, self._converters)
                result = await self._function(**arguments)
            return to_data(result) if is_short(result) else await data_of(result)
        except BaseException as error:
            raise contained(error) from None
        finally:
            output.finish()
            current.reset(token)

    async def _call_function(self, work: AttemptContext) -> Data:
        """The result of a function that is not a coroutine."""
        cancelled = threading.Event()
        arguments = self._arguments(work, cancelled)
        if self._converters:
            await convert(arguments, self._converters)
        call = partial(_plain_result, partial(self._function, **arguments), self._bare)
        result = await self._in_thread(work, cancelled, call)
        if type(result) is _Made:
            return await data_of(await self._objects.call(result.framework, result.found, work))
        return await data_of(await result) if inspect.isawaitable(result) else result

    async def _in_thread(self, work: AttemptContext, cancelled: threading.Event, call: Callable[[], Any]) -> Any:
        """The result of a call in a thread."""
        try:
            result = await anyio.to_thread.run_sync(
                _shielded, call, abandon_on_cancel=True, limiter=self._limiter
            )
        except asyncio.CancelledError:
            cancelled.set()
            work.log("abandoned: a thread cannot be stopped, it ends when the function returns", "warning")
            raise
        if type(result) is _Raised:
            raise step_error(result.error) from None
        return result

    def _arguments(self, work: AttemptContext, cancelled: threading.Event | None) -> dict[str, Any]:
        scope, with_ = work.scope, work.with_
        inputs = scope.get("inputs") or {}
        found: dict[str, Any] = {}
        for name, needed in self._names:
            if name in with_:
                found[name] = with_[name]
            elif name == "ctx":
                found[name] = Context(work, cancelled)
            elif name in scope and not (name in HIDDEN and name in inputs):
                found[name] = scope[name]
            elif name in inputs:
                found[name] = inputs[name]
            elif needed:
                what = f"{self._target} takes {name}, which is neither an input nor a need nor in `with`"
                raise StepError("setup", what)
        if self._rest:
            more: Mapping[str, Any] = with_ if work.agent.needs else {**inputs, **with_}
            found.update({name: value for name, value in more.items() if name not in found})
        return found


# For plain functions without `inspect`, which takes longer than the whole step of a small agent.


def _is_async(function: Callable[..., Any]) -> bool:
    if type(function) is FunctionType and function.__code__.co_flags & inspect.CO_COROUTINE:
        return True
    called = getattr(function, "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _takes_nothing(function: Callable[..., Any]) -> bool:
    code = getattr(function, "__code__", None)
    return (
        code is not None
        and not (code.co_argcount or code.co_kwonlyargcount or code.co_flags & OPEN_ENDED)
        and not hasattr(function, "__wrapped__")
    )


class _Raised(NamedTuple):
    """An exception of a function in a thread, passed as a value: SystemExit must not end the thread pool's
    worker."""

    error: BaseException


class _Made(NamedTuple):
    """An object of a framework that a function without arguments has made: it is what the agent names."""

    framework: Framework
    found: Any


def _made(result: Any) -> Framework | None:
    """The framework that calls what a function without arguments has returned; None for a result."""
    if result is None or isinstance(result, PLAIN) or inspect.isawaitable(result):
        return None
    try:
        framework = framework_of(result)
    except TypeError:
        return None
    return framework if framework is not None and not framework.fallback else None


def _by_place(function: Callable[..., Any], first: list[str]) -> Callable[..., Any]:
    """A function whose first parameters are positional-only, callable by name."""

    def call(**given: Any) -> Any:
        return function(*[given.pop(name) for name in first if name in given], **given)

    return call


def _plain_result(call: Callable[[], Any], factory: bool) -> Any:
    """The function's result: an awaitable, or plain data, converted here, in the thread. A `factory` may make an
    object of a framework."""
    result = call()
    if factory and (framework := _made(result)) is not None:
        return _Made(framework, result)
    return result if inspect.isawaitable(result) else to_data(result)


def _shielded(call: Callable[[], Any]) -> Any:
    """The result of a call, or what it raised."""
    try:
        return call()
    except BaseException as error:
        return _Raised(error)
