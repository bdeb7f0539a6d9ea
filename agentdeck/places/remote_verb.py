"""Attempts whose code runs in another process: what an engine says of a call and makes of its messages, wherever
the process is."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol, TypeAlias

import anyio.to_thread

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
from agentdeck.agents.verb import NOW, AttemptContext, WorkflowContext
from agentdeck.errors import Fault, StepError, StepLost
from agentdeck.places.child_process import LAST, ChildCall
from agentdeck.workflow.expressions import LIGHT
from agentdeck.workflow.json_text import json_text, room_left
from agentdeck.workflow.model import Data

#: Bytes of a message above which it is parsed in a thread.
LARGE = 256_000
_EVENTS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in (Started, Text, Used, Asked, Ended)}
_NUMBERS = itertools.count(1)

#: A message of a call: its kind, the number of the call, and more.
Message: TypeAlias = list[Any]


def new_number() -> int:
    """The number of a new call, unique in this process."""
    return next(_NUMBERS)


class RemoteCall(ChildCall):
    """A call that another process executes for an attempt. One that `prepares` only asks how the agent has to be
    called."""

    def __init__(self, work: AttemptContext, prepares: bool) -> None:
        super().__init__(new_number())
        self.work = work
        self.prepares = prepares
        self._messages: list[Message | bytes] = []
        self._arrived = asyncio.Event()

    def take(self, kind: str, line: bytes) -> None:
        if kind == "log":
            _, _, text, level = json.loads(line)
            self.work.log(text, level)
        elif kind == "alive":
            self.work.alive()
        else:
            self._messages.append(line if len(line) > LARGE and kind in LAST else json.loads(line))
            self._arrived.set()

    async def messages(self) -> AsyncIterator[Message]:
        """The messages of the call, its last one included. Raises what it reports, and StepLost where its process
        is gone."""
        while True:
            while not self._messages:
                self._arrived.clear()
                await self._arrived.wait()
            found = self._messages.pop(0)
            message: Message = (
                await anyio.to_thread.run_sync(json.loads, found) if isinstance(found, bytes) else found
            )
            kind = message[0]
            if kind == "lost":
                raise StepLost(message[2])
            if kind == "fault":
                raise _error(message[2])
            if kind == "cancelled":
                raise asyncio.CancelledError
            yield message
            if kind in LAST:
                return


class CallExecutor(Protocol):
    """What has calls executed."""

    async def begin(self, call: RemoteCall, target: str, alone: bool, message: bytes) -> None:
        """Have a process begin a call of this target, one that has no other where it is to be `alone`. The
        message describes it. Raises StepError where that is not possible."""

    async def cancel(self, call: RemoteCall, now: bool) -> None:
        """End a call within a second; `now`: without the time to end by itself."""


class RemoteVerb:
    """Executes the attempts of one agent in other processes. Where it is not known whether a call needs a process
    for itself (`alone`), the first one finds out."""

    def __init__(
        self, target: str, context: WorkflowContext, executor: CallExecutor, alone: bool | None = None
    ) -> None:
        self._target = target
        self._executor = executor
        self._folder = str(context.folder.resolve())
        self._objects = ObjectCaller(target, context, _no_thread)
        self._alone = alone
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
        alone: bool,
        variables: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Message, None]:
        """Have a process do something for an attempt; gives its messages. Raises what it reports."""
        call = RemoteCall(work, what == "prepare")
        described = await self._message(call, what, given, variables or {})
        try:
            await self._executor.begin(call, self._target, alone, described)
            async for message in call.messages():
                yield message
        except (asyncio.CancelledError, GeneratorExit) as cancelled:
            if not call.ended.is_set():
                await self._executor.cancel(call, NOW in cancelled.args)
            raise

    async def _message(
        self, call: RemoteCall, what: str, given: CallInput | None, variables: Mapping[str, str]
    ) -> bytes:
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
            return json.dumps(message).encode()
        return await anyio.to_thread.run_sync(partial(_in_full, message))


def _in_full(message: dict[str, Any]) -> bytes:
    return json_text(message, dump=json.dumps).encode()


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
