"""The calls in a child process of the place `process`: what the child does with the messages of the engine.

A message is one line of JSON on a private pipe. From the engine: `hello`, `prepare`, `call`, `cancel`. To the
engine, each with the number of its call: `ready`, `log`, `alive`, `event`, `cancelling`, and, as the last one of
a call, `prepared`, `result`, `fault` or `cancelled`. When the engine closes the pipe, the child ends.

Imports nothing but the standard library and modules that do the same."""

from __future__ import annotations

import asyncio
import contextvars
import faulthandler
import importlib
import inspect
import json
import os
import platform
import select
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any

from agentdeck.agents.agent_errors import step_error
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
    is_called_directly,
    recognised,
)
from agentdeck.agents.function_call import Context, Signature, everything, is_async, made
from agentdeck.agents.output_capture import AttemptOutput, capture, current
from agentdeck.agents.parameters import Converter, converters
from agentdeck.agents.plain_data import excerpt, is_short, to_data
from agentdeck.errors import StepError
from agentdeck.places.call_threads import CallThreads
from agentdeck.workflow.functions import resolve
from agentdeck.workflow.json_text import json_text

#: Seconds between two signs of life of one call.
ALIVE_EVERY = 0.1
#: Characters of a log entry.
LONGEST_LOG = 1_000_000
_dump = partial(json.dumps, default=str)
_threads = CallThreads()


class Channel:
    """The two ends of the pipe. Messages may be sent from any thread."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._lock = threading.Lock()
        self.lease: float | None = None  # seconds after which a parent that says nothing is gone
        self._last = bytearray()  # the last messages of calls, which are sent together
        os.register_at_fork(after_in_child=self._forked)

    def send(self, *message: Any) -> None:
        self._send(_bytes(_dump(message)))

    def send_last(self, text: str) -> None:
        """On the event loop: send the last message of a call, together with those of other calls that end in the
        same turn of the loop. Each write costs as much as the call of a small function, at both ends."""
        with self._lock:
            if not self._last:
                asyncio.get_running_loop().call_soon(self._send, b"")
            self._last += _bytes(text)

    def _send(self, more: bytes) -> None:
        with self._lock:
            data = memoryview(bytes(self._last) + more)
            self._last.clear()
            while data and self._write >= 0:
                data = data[os.write(self._write, data) :]

    def receive(self, take: Callable[[list[dict[str, Any]]], None]) -> None:
        """In a thread: pass on the messages. Ends the process when the engine has closed the pipe, or is gone."""
        rest: list[bytes] = []
        while select.select([self._read], [], [], self.lease)[0] and (data := os.read(self._read, 1 << 16)):
            *lines, last = data.split(b"\n")
            messages = []
            for line in lines:
                whole, rest = b"".join((*rest, line)), []
                if whole:  # an empty line is a sign of life
                    messages.append(json.loads(whole))
            rest.append(last)
            if messages:
                take(messages)
        os._exit(0)

    def _forked(self) -> None:
        """In a process that an agent forks: the pipe belongs to its parent."""
        os.close(self._read)
        os.close(self._write)
        self._lock, self._write, self._last = threading.Lock(), -1, bytearray()


def _bytes(text: str) -> bytes:
    return text.encode("ascii", "backslashreplace") + b"\n"


class Target:
    """What an agent names: a function with its parameters, or an object of a framework."""

    def __init__(self, target: str, folder: str, frameworks: Mapping[str, Framework]) -> None:
        self.function = resolve(target, Path(folder))
        self.framework: Framework | None = None
        self.signature: Signature | None = None
        self.converters: Mapping[str, Converter] = {}
        if not is_called_directly(self.function):
            try:
                self.framework = recognised(self.function, frameworks)
            except TypeError as error:
                raise StepError("setup", str(error)) from None
        if self.framework is None:
            self.is_async = is_async(self.function)
            with suppress(ImportError):  # without pydantic, parameters get the plain values
                self.converters = converters(self.function, target)
            self.signature = Signature(self.function, target)

    @property
    def alone(self) -> bool:
        """Whether a call needs a process to itself: it may block a thread, which cannot be ended otherwise."""
        if self.framework is not None:
            return self.framework.alone(self.function)
        return not (self.is_async or inspect.isasyncgenfunction(self.function))


class Call:
    """One attempt of a step, as its function may know it (`OfAttempt`)."""

    def __init__(self, given: Mapping[str, Any], channel: Channel) -> None:
        self.number: int = given["id"]
        self.scope: dict[str, Any] = {**given["scope"]["needs"], **given["scope"]}
        self.given = given
        self.run, self.task, self.step, self.attempt = given["attempt"]
        self.deadline: float | None = given["deadline"]
        self.gateway: Mapping[str, str] = given["env"]
        self.cancelled = threading.Event()
        self.under_way: asyncio.Task[None] | None = None
        self._channel = channel
        self._next_sign = 0.0

    @property
    def id(self) -> str:
        return f"{self.run}/{self.task}/{self.step}#{self.attempt}"

    def log(self, text: str, level: str = "info") -> None:
        self._channel.send("log", self.number, str(text)[:LONGEST_LOG], str(level))

    def alive(self) -> None:
        if time.monotonic() >= self._next_sign:
            self._next_sign = time.monotonic() + ALIVE_EVERY
            self._channel.send("alive", self.number)

    async def in_thread(self, call: Callable[[], Any]) -> Any:
        """The result of a call in a thread. An attempt that is cancelled is not over before the thread is."""
        loop, done = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        context = contextvars.copy_context()

        def work() -> Callable[[], object]:
            try:
                ended = partial(done.set_result, context.run(call))
            except StopIteration as error:  # a future refuses it
                ended = partial(done.set_exception, RuntimeError(f"StopIteration: {error}"))
            except BaseException as error:
                ended = partial(done.set_exception, step_error(error))
            return partial(loop.call_soon_threadsafe, ended)

        _threads.execute(work)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            with suppress(BaseException):
                await done
            raise


class Calls:
    """All calls of this process. Its methods run on the event loop."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._calls: dict[int, Call] = {}
        self._targets: dict[tuple[str, str], Target] = {}
        self._frameworks: dict[str, Framework] = {}
        self._folders: dict[str, str] = {}  # of this machine, where the engine has others

    def take_all(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            self.take(message)

    def take(self, message: dict[str, Any]) -> None:
        """Do what the engine says."""
        what = message["do"]
        if what == "hello":
            self._folders, self._channel.lease = message["folders"], message["lease"]
            self._load(message["frameworks"])
            self._channel.send("ready", 0, platform.python_version())
        elif what == "cancel":
            self._cancel(message["id"])
        else:
            call = self._calls[message["id"]] = Call(message, self._channel)
            work = self._prepare if what == "prepare" else self._execute
            call.under_way = asyncio.get_running_loop().create_task(work(call))

    def _load(self, names: Mapping[str, str]) -> None:
        for name, target in names.items():
            module, _, attribute = target.partition(":")
            self._frameworks[name] = getattr(importlib.import_module(module), attribute)()
            self._frameworks[name].prepare_interpreter()

    def _cancel(self, number: int) -> None:
        call = self._calls.get(number)
        if call is not None and call.under_way is not None:
            self._channel.send("cancelling", number)
            call.cancelled.set()
            call.under_way.cancel()

    def _target(self, call: Call) -> Target:
        folder = call.given["folder"]
        key = call.given["target"], self._folders.get(folder, folder)
        if key not in self._targets:
            self._targets[key] = Target(*key, self._frameworks)
        return self._targets[key]

    async def _prepare(self, call: Call) -> None:
        await self._report(call, self._answer_prepared)

    async def _execute(self, call: Call) -> None:
        variables = call.given["env"]
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            await self._report(call, self._answer_result)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    async def _report(self, call: Call, answer: Callable[[Call], Any]) -> None:
        """Send the last message of a call: its answer, or why there is none."""
        output = AttemptOutput(call.log)
        current.set(output)
        text = ""
        try:
            text = await answer(call)
        except asyncio.CancelledError as error:
            if call.cancelled.is_set():
                text = _dump(("cancelled", call.number))
            else:
                text = self._fault(call, error)
        except BaseException as error:
            text = self._fault(call, error)
        finally:
            output.finish()
            for stream in (sys.__stdout__, sys.__stderr__):
                if stream is not None:
                    stream.flush()
            del self._calls[call.number]
            self._channel.send_last(text)

    def _fault(self, call: Call, error: BaseException) -> str:
        return _dump(("fault", call.number, step_error(error).fault))

    async def _answer_prepared(self, call: Call) -> str:
        return _dump(("prepared", call.number, self._target(call).alone))

    async def _answer_result(self, call: Call) -> str:
        value = await self._value(call)
        make = partial(_result_text, call.number, value)
        text: str = make() if is_short(value) else await call.in_thread(make)
        return text

    async def _value(self, call: Call) -> Any:
        """What the agent's function or object returns."""
        target = self._target(call)
        if target.framework is not None:
            return await self._object(target.framework, target.function, call)
        assert target.signature is not None
        with_ = call.given["with"]
        arguments = target.signature.arguments(
            call.scope, with_, call.given["has_needs"], lambda: Context(call, call.cancelled)
        )
        _convert(arguments, target.converters)
        function = partial(target.signature.call, **arguments)
        result = await function() if target.is_async else await call.in_thread(function)
        find = partial(recognised, frameworks=self._frameworks)
        if (framework := made(result, find, target.signature.factory)) is not None:
            return await self._object(framework, result, call)
        return await result if inspect.isawaitable(result) else result

    async def _object(self, framework: Framework, found: Any, call: Call) -> Any:
        """The result of an object of a framework; None where it has questions, which were sent."""
        given, asked = call.given, False
        values = everything(call.scope, given["with"])
        file = given["checkpoints"]
        if not Path(file).parent.is_dir():  # this is another machine
            file = ""
        call_input = CallInput(values, call.in_thread, given["thread"], file, given["answers"])
        async with aclosing(framework.call(found, call_input)) as events:
            async for event in events:
                if isinstance(event, Result):
                    return event.value
                asked = asked or isinstance(event, Asked)
                self._channel.send("event", call.number, type(event).__name__, _fields(event))
        if not asked:
            raise StepError("exception", f"{given['target']} ended without a result")
        return None


def _fields(event: InnerEvent) -> list[Any]:
    """The fields of an event as plain data."""
    match event:
        case Started():
            return [str(event.id), str(event.parent), str(event.name), str(event.kind), excerpt(event.input)]
        case Text():
            return [str(event.id), str(event.delta)]
        case Used():
            return [str(event.id), str(event.model), event.tokens_in, event.tokens_out, event.cached_in]
        case Ended():
            return [str(event.id), excerpt(event.output), str(event.error)]
        case Asked():
            schema = None if event.schema is None else to_data(dict(event.schema))
            shows = None if event.shows is None else excerpt(event.shows)
            return [str(event.id), str(event.question), schema, shows]
    raise TypeError(f"{type(event).__name__} is no event of a call")


def _result_text(number: int, value: Any) -> str:
    return f'["result", {number}, {json_text(to_data(value), dump=_dump)}]'


def _convert(arguments: dict[str, Any], by_name: Mapping[str, Converter]) -> None:
    """Convert the arguments in place, as far as pydantic is installed here."""
    for name, converter in by_name.items():
        if name in arguments and not converter.fits(arguments[name]):
            with suppress(ImportError):
                arguments[name] = converter.convert(arguments[name])


def serve(read: int, write: int) -> None:
    """Carry out calls until the engine closes the pipe."""
    faulthandler.enable()
    asyncio.run(_serve(Channel(read, write)))


async def _serve(channel: Channel) -> None:
    loop, calls = asyncio.get_running_loop(), Calls(channel)
    with capture():

        def take(messages: list[dict[str, Any]]) -> None:
            loop.call_soon_threadsafe(calls.take_all, messages)

        threading.Thread(target=channel.receive, args=(take,), daemon=True).start()
        await asyncio.Event().wait()
