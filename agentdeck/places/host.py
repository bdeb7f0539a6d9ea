"""The worker's side of a place on a cluster: a host executes the calls of one engine and place in children.

Bytes come in with `send` and go out with `receive`, both in whole lines. A line of the engine is a header, and
what belongs to it after a tab: `["call", NUMBER, target, alone]` with the message for the child, `["cancel",
NUMBER, now]`, `["code", NUMBER, folder]` with a package in base64, `["facts", NUMBER, [[target, folder], …]]`,
`["machine", NUMBER, null]`.
Lines of the host are those of its children (`child_calls`), and answers of its own in the same form.

Runs on the event loop of a worker of Dask or Ray, beside other people's tasks."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from base64 import b64decode
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from agentdeck.errors import AgentdeckError, Fault, StepError, described
from agentdeck.places import machine
from agentdeck.places.child_pool import ChildPool
from agentdeck.places.child_process import LAST, ChildCall
from agentdeck.places.cluster import HostGone
from agentdeck.places.code import found, unpack
from agentdeck.processes.children import Children

#: Seconds for which `receive` waits.
WAIT = 1.0
#: Seconds without a request after which a host ends itself: its engine is gone, or cannot reach it.
LEASE = 10
#: The same for its children, which it gives a sign of life once a second: it may be stopped itself.
CHILD_LEASE = 8.0
#: An answer to `receive` that has more lines than these is followed by a pause of so many seconds, in which more
#: lines come: passing on an answer costs as much as ten calls.
FEW, PAUSE = 2, 0.01
#: Bytes after which an answer to `receive` takes no further line.
LARGEST = 1 << 22
#: The hosts of this process, by name and worker: several workers may share one.
_hosts: dict[tuple[str, str], Host] = {}


class Host:
    """Made in any thread; all else happens on one event loop. `name` says whose it is: `RUN/PLACE`."""

    def __init__(self, name: str, worker: str) -> None:
        self._key = name, worker
        self._place = f"{name.partition('/')[2]} on {worker}"
        self._calls: dict[int, _Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._folders: dict[str, str] = {}
        self._children = Children()
        self._pool: ChildPool | None = None
        self._lines: list[bytes] = []
        self._many = False  # lines of the last answer
        self._size = 0
        self._said = asyncio.Event()
        self._silent = 0  # seconds since the last `receive`
        self._closed = False
        self._ended = asyncio.Event()  # with all calls
        self._why = "its host was closed"
        self._lease: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Close an older host of the same name: its engine is gone."""
        older = _hosts.get(self._key)
        _hosts[self._key] = self
        if older is not None:
            await older.close()
        self._lease = asyncio.create_task(self._watch())

    async def send(self, data: bytes) -> None:
        """Lines of the engine."""
        for line in data.split(b"\n"):
            if line and not self._closed:
                header, _, rest = line.partition(b"\t")
                self._take(json.loads(header), rest)

    async def receive(self) -> bytes:
        """Lines for the engine, those that have come since the last time; empty where none comes for a second.
        Raises HostGone when it is closed, and its calls have ended: what it is sent then has no effect."""
        self._silent = 0
        if self._many and not self._closed:
            await asyncio.sleep(PAUSE)
        if not self._lines and not self._closed:
            self._said.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(WAIT):  # `wait_for` would make a task
                    await self._said.wait()
            self._silent = 0
        if self._closed:
            await self._ended.wait()
            raise HostGone(self._why)
        size = count = 0
        while count < len(self._lines) and size < LARGEST:
            size += len(self._lines[count])
            count += 1
        self._many = count > FEW
        data, self._lines = b"".join(self._lines[:count]), self._lines[count:]
        return data

    async def exchange(self, data: bytes) -> bytes:
        """Both in one request."""
        await self.send(data)
        return await self.receive()

    async def close(self) -> None:
        """End all calls and their processes."""
        if self._closed:
            return
        self._closed = True
        self._said.set()
        if _hosts.get(self._key) is self:
            del _hosts[self._key]
        if self._lease is not None and self._lease is not asyncio.current_task():
            self._lease.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._pool is not None:
            await self._pool.close()
        await self._children.close()
        self._lines.clear()
        self._ended.set()

    async def _watch(self) -> None:
        """Seconds are counted in turns of the loop: one that was blocked says nothing of the engine."""
        while self._silent < LEASE:
            await asyncio.sleep(1)
            self._silent += 1
            if self._pool is not None:
                self._pool.sign_of_life()
        self._why = f"it was not asked for {LEASE} s, and has ended its calls"
        await self.close()

    def _say(self, line: bytes) -> None:
        self._lines.append(line + b"\n")
        self._said.set()

    # What the engine wants

    def _take(self, header: list[Any], rest: bytes) -> None:
        what, number = header[0], header[1]
        if what == "call":
            call = self._calls[number] = _Call(number, self)
            call.begun = self._do(self._begin(call, header[2], header[3], rest))
        elif what == "cancel":
            if (asked := self._calls.get(number)) is not None:
                self._do(self._cancel(asked, header[2]))
        else:
            works: dict[str, Callable[[Any, bytes], Awaitable[Any]]]
            works = {"code": self._unpack, "facts": self._facts, "machine": self._machine}
            self._do(self._answer(number, works[what], header[2], rest))

    def _do(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _begin(self, call: _Call, target: str, alone: bool, message: bytes) -> None:
        if self._pool is None:
            self._pool = ChildPool(
                self._place,
                [sys.executable],
                lambda: os.environ,
                None,
                self._children,
                self._folders,
                CHILD_LEASE,
            )
        try:
            await self._pool.begin(call, target, alone, message)
        except StepError as error:
            call.finish("fault", error.fault)

    async def _cancel(self, call: _Call, now: bool) -> None:
        assert call.begun is not None
        if call.child is None:
            call.begun.cancel()
            await asyncio.wait([call.begun])
        if self._pool is not None:
            await self._pool.cancel(call, now)
        if not call.ended.is_set():  # it has not begun
            call.finish("cancelled")

    def passed_on(self, call: _Call, kind: str, line: bytes) -> None:
        """A message of a call, on its way to the engine."""
        if kind in LAST:
            self._calls.pop(call.number, None)
        self._say(line)

    async def _answer(
        self, number: int, work: Callable[[Any, bytes], Awaitable[Any]], given: Any, rest: bytes
    ) -> None:
        try:
            message: tuple[Any, ...] = ("answer", number, await work(given, rest))
        except StepError as error:
            message = ("fault", number, error.fault)
        except (AgentdeckError, OSError, ValueError) as error:
            message = ("fault", number, Fault("setup", described(error)))
        self._say(json.dumps(message).encode())

    async def _unpack(self, folder: str, packed: bytes) -> str:
        """Where a folder of the engine is here, with the code that it has there."""
        into = Path(tempfile.gettempdir()) / f"agentdeck-code-{os.getuid()}"
        unpacked = await asyncio.to_thread(unpack, b64decode(packed), into)
        self._folders[folder] = str(unpacked)
        return str(unpacked)

    async def _machine(self, _: None, __: bytes) -> list[Any]:
        return [machine.load(), machine.memory_in_use()]

    async def _facts(self, targets: list[list[str]], _: bytes) -> list[Any]:
        """For each target, the facts of its module, or why there are none."""
        return await asyncio.to_thread(self._facts_of, targets)

    def _facts_of(self, targets: list[list[str]]) -> list[Any]:
        facts: list[Any] = []
        for target, folder in targets:
            try:
                facts.append(found(target, Path(self._folders.get(folder, folder))))
            except StepError as error:
                facts.append(str(error))
        return facts


class _Call(ChildCall):
    """A call of the engine, whose messages go there as they come."""

    def __init__(self, number: int, host: Host) -> None:
        super().__init__(number)
        self.begun: asyncio.Task[None] | None = None
        self._host = host

    def take(self, kind: str, line: bytes) -> None:
        self._host.passed_on(self, kind, line)

    def finish(self, kind: str, *more: Any) -> None:
        """Its last message, where no child has said one."""
        self.take(kind, json.dumps((kind, self.number, *more)).encode())
        self.ended.set()
