"""`python: module:name`: calls functions, async or not, and objects of known shapes."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import anyio
import anyio.to_thread

from agentdeck.agents.agent_errors import step_error
from agentdeck.agents.foreign_code import contained
from agentdeck.agents.frameworks.known import framework_of
from agentdeck.agents.function_call import Context, Made, Signature, is_async, made
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
        self._converters: Mapping[str, Converter] = {}
        self._async = self._framework is None and is_async(self._function)
        self._limiter = None if self._async else anyio.CapacityLimiter(10_000)
        if self._framework is None:
            self._signature = Signature(self._function, self._target)
            self._bare = self._signature.empty
            if not self._bare:
                self._converters = converters(self._function, self._target)
            self._function = self._signature.call

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
                if (framework := made(result, framework_of, True)) is not None:
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
        call = partial(_plain_result, partial(self._function, **arguments), self._signature.factory)
        result = await self._in_thread(work, cancelled, call)
        if type(result) is Made:
            return await data_of(await self._objects.call(result.framework, result.found, work))
        return await data_of(await result) if inspect.isawaitable(result) else result

    async def _in_thread(self, work: AttemptContext, cancelled: threading.Event, call: Callable[[], Any]) -> Any:
        """The result of a call in a thread. A thread that goes on after a cancellation holds a worker."""
        thread = ThreadCall(call)
        try:
            result = await anyio.to_thread.run_sync(thread.run, abandon_on_cancel=True, limiter=self._limiter)
        except asyncio.CancelledError:
            running = thread.leave(partial(_free_worker, asyncio.get_running_loop(), work))
            cancelled.set()
            if running:
                work.hold_worker(True)
                what = "a thread cannot be stopped, it holds a worker until the function returns"
                work.log(f"abandoned, still running: {what}", "warning")
            raise
        if type(result) is _Raised:
            raise step_error(result.error) from None
        return result

    def _arguments(self, work: AttemptContext, cancelled: threading.Event | None) -> dict[str, Any]:
        return self._signature.arguments(
            work.scope, work.with_, bool(work.agent.needs), lambda: Context(work, cancelled)
        )


class _Raised(NamedTuple):
    """An exception of a function in a thread, passed as a value: SystemExit must not end the thread pool's
    worker."""

    error: BaseException


def _plain_result(call: Callable[[], Any], factory: bool) -> Any:
    """The function's result: an awaitable, or plain data, converted here, in the thread; or an object that is
    called."""
    result = call()
    if (framework := made(result, framework_of, factory)) is not None:
        return Made(framework, result)
    return result if inspect.isawaitable(result) else to_data(result)


class ThreadCall:
    """A call in a thread, which the attempt may leave behind."""

    __slots__ = ("_call", "_left", "_lock", "_running")

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._left: Callable[[], None] | None = None
        self._running = False
        self._lock = threading.Lock()

    def run(self) -> Any:
        """In the thread: the result of the call, or what it raised. A call that was left does not begin."""
        with self._lock:
            if self._left is not None:
                return None
            self._running = True
        try:
            return self._call()
        except BaseException as error:
            return _Raised(error)
        finally:
            with self._lock:
                self._running = False
                if self._left is not None:
                    self._left()

    def leave(self, ended: Callable[[], None]) -> bool:
        """Whether the call is under way; then `ended` is called in its thread when it is not any more."""
        with self._lock:
            self._left = ended
            return self._running


def _free_worker(loop: asyncio.AbstractEventLoop, work: AttemptContext) -> None:
    with suppress(RuntimeError):  # the loop is closed: the run is over
        loop.call_soon_threadsafe(work.hold_worker, False)
