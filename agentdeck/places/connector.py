"""The program of a connector: the process that holds the client of a cluster, for one place of one run.

It passes bytes between the engine and the hosts, and reads none of them. When the engine closes the pipe, or is
gone, it closes the hosts and ends."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from agentdeck.errors import described
from agentdeck.places.cluster import Cluster, ClusterError, HostGone, HostLink
from agentdeck.places.frames import FramePipe, Kind

#: Seconds between two looks at the workers.
LOOK = 1.0
#: Seconds in which a cluster has to say which workers it has.
PATIENCE = 10.0
#: Seconds in which a host has to answer `receive`, which it does after one. Longer than its lease (`host.LEASE`):
#: what ran on a host that is given up has ended.
SILENCE = 12.0
#: Seconds for closing everything.
CLOSING = 2.0


class Connector:
    """What a connector does with the frames of the engine."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._pipe = FramePipe(self._take, self._stop)
        self._stopped = asyncio.Event()
        self._cluster: Cluster | None = None
        self._hosts: dict[int, _Host] = {}
        self._gone = 0  # hosts so far
        self._look_now = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the engine has enough."""
        await self._pipe.open(self._end)
        await self._stopped.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING):
                await self._close()
        self._pipe.close()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(host.close() for host in self._hosts.values()))
        if self._cluster is not None:
            await self._cluster.close()

    def _stop(self) -> None:
        self._stopped.set()

    def _take(self, kind: Kind, number: int, payload: bytes) -> None:
        if kind == Kind.DATA:
            if (host := self._hosts.get(number)) is not None:
                host.put(payload)
        elif kind == Kind.CLOSE:
            if number == 0:
                self._stop()
            elif (host := self._hosts.pop(number, None)) is not None:
                self._do(host.close())
        else:
            work: Mapping[Kind, Callable[..., Awaitable[str]]]
            work = {Kind.CONNECT: self._connect, Kind.PROBE: self._probe, Kind.OPEN: self._open}
            self._do(self._answer(number, work[kind], json.loads(payload)))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, number: int, work: Callable[..., Awaitable[str]], given: list[Any]) -> None:
        try:
            text, kind = await work(number, *given), Kind.DONE
        except (ClusterError, HostGone) as error:
            text, kind = str(error), Kind.FAILED
        except Exception as error:  # the client of the cluster
            text, kind = described(error), Kind.FAILED
        self._pipe.send(kind, number, text.encode())

    async def _connect(
        self, number: int, target: str, options: dict[str, Any], slots: int | None, folder: str
    ) -> str:
        module, _, name = target.partition(":")
        self._cluster = getattr(importlib.import_module(module), name)(options, slots, Path(folder))
        await self._cluster.connect()
        self._do(self._look())
        return ""

    async def _probe(self, number: int, worker: str, source: str) -> str:
        assert self._cluster is not None
        return await self._cluster.probe(worker, source)

    async def _open(self, number: int, worker: str, name: str) -> str:
        assert self._cluster is not None
        host = self._hosts[number] = _Host(number, await self._cluster.open(worker, name), self._pipe)
        self._do(self._serve(number, host))
        return ""

    async def _serve(self, number: int, host: _Host) -> None:
        why = await host.serve()
        if self._hosts.pop(number, None) is not None:
            self._pipe.send(Kind.GONE, number, why.encode())
            self._gone += 1
            self._look_now.set()
            await host.close()

    async def _look(self) -> None:
        """Tell the engine which workers there are: once a second, and after a host is gone, as others may be too.
        The cluster is lost when it does not say so: the engine starts another connector."""
        assert self._cluster is not None
        while True:
            self._look_now.clear()
            gone = self._gone
            try:
                async with asyncio.timeout(PATIENCE):
                    workers = await self._cluster.workers()
            except TimeoutError:
                return self._away(f"it has not answered for {PATIENCE:g} s")
            except ClusterError as error:
                return self._away(str(error))
            except Exception as error:  # the client of the cluster
                return self._away(described(error))
            if gone == self._gone:
                self._pipe.send(Kind.WORKERS, 0, json.dumps(workers).encode())
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._look_now.wait(), LOOK)

    def _away(self, why: str) -> None:
        self._pipe.send(Kind.AWAY, 0, why.encode())
        self._stop()


class _Host:
    """A host that is open: what is on its way there and back."""

    def __init__(self, number: int, link: HostLink, pipe: FramePipe) -> None:
        self._number, self._link, self._pipe = number, link, pipe
        self._out: list[bytes] = []
        self._put = asyncio.Event()

    def put(self, data: bytes) -> None:
        self._out.append(data)
        self._put.set()

    async def serve(self) -> str:
        """Pass bytes on until the host is gone; returns how that is known."""
        ways = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            error = next(iter(done)).exception()
        finally:
            for way in ways:
                way.cancel()
        if isinstance(error, TimeoutError):
            return f"it has not answered for {SILENCE:g} s"
        return str(error) if isinstance(error, HostGone | ClusterError) else described(error or HostGone())

    async def _send(self) -> None:
        """What comes while something is sent goes with the next."""
        while True:
            await self._put.wait()
            self._put.clear()
            out, self._out = self._out, []
            await self._link.send(b"".join(out))

    async def _receive(self) -> None:
        while True:
            async with asyncio.timeout(SILENCE):
                data = await self._link.receive()
            if data:
                self._pipe.send(Kind.DATA, self._number, data)
                await self._pipe.drain()

    async def close(self) -> None:
        with suppress(Exception):  # it may be gone
            await self._link.close()


def main() -> None:
    """Serve the socket whose file descriptor is the last argument."""
    end = socket.socket(fileno=int(sys.argv[-1]))
    end.setblocking(False)

    async def serve() -> None:
        await Connector(end).run()

    asyncio.run(serve())
    sys.stdout.flush()
    os._exit(0)  # a client may have threads that go on
