"""The engine's end of a connector: its start, its frames, its end."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from agentdeck.places.child_process import ending
from agentdeck.places.cluster import ClusterError
from agentdeck.places.frames import FramePipe, Kind
from agentdeck.processes.children import Children

#: Seconds that a connector has to end when the run is over; it takes two for closing.
CLOSE = 3.0
#: Seconds in which the last output of one that has ended arrives.
REST = 0.2
#: The last lines of its output that are kept, to say why it ended.
TAIL = 8
_ROOT = str(Path(__file__).parents[2])
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from agentdeck.places.connector import main; main()"


class ConnectorProcess:
    """One connector. `take` is called with its frames, beside answers; `said` with each line that it prints.
    `gone` is set when it has ended, and `why` says how then."""

    def __init__(
        self,
        children: Children,
        env: Mapping[str, str],
        take: Callable[[Kind, int, bytes], None],
        said: Callable[[str], None],
    ) -> None:
        self.gone = asyncio.Event()
        self.why = ""
        self._children, self._env, self._take_frame, self._said = children, env, take, said
        self._pipe = FramePipe(self._take, lambda: None)
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[str]] = {}
        self._tail: list[str] = []
        self._process: asyncio.subprocess.Process | None = None
        self._life: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises ClusterError where it cannot be started."""
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(started))
        await asyncio.shield(started)

    async def _live(self, started: asyncio.Future[None]) -> None:
        """The life of the process, from its start until nothing of it is left."""
        ours, its = socket.socketpair()
        with ours, self._children.child() as child:
            child.ends_whole = True
            ours.setblocking(False)
            try:
                with its:
                    process = self._process = await asyncio.create_subprocess_exec(
                        *(sys.executable, "-P", "-u", "-c", _PROGRAM, _ROOT, str(its.fileno())),
                        stdin=asyncio.subprocess.DEVNULL,
                        stdout=asyncio.subprocess.PIPE,
                        stderr=asyncio.subprocess.STDOUT,
                        pass_fds=(its.fileno(),),
                        env=child.environment(self._env),
                        start_new_session=True,
                    )
                child.started(process.pid)
                await self._pipe.open(ours)
            except OSError as error:
                self.gone.set()
                started.set_exception(ClusterError(f"no process can be started: {error.strerror}"))
                return
            started.set_result(None)
            reading = asyncio.create_task(self._read(process))
            try:
                code = await process.wait()
                await asyncio.wait([reading], timeout=REST)  # processes that it has started may have the pipe too
                said = f" ({self._tail[-1]})" if self._tail else ""
                self.why = f"its connector {ending(code)}{said}"
            finally:
                reading.cancel()
                self._pipe.close()
                self.gone.set()
                for answer in self._answers.values():
                    if not answer.done():
                        answer.set_exception(ClusterError(self.why))
                        answer.exception()  # asyncio warns of errors that were never read

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # it is too long, and has been dropped
                continue
            if not line:
                return
            if text := line.decode("utf-8", "replace").strip():
                self._tail = [*self._tail[1 - TAIL :], text[:500]]
                self._said(text)

    def number(self) -> int:
        return next(self._numbers)

    async def ask(self, kind: Kind, number: int, *given: Any) -> str:
        """Its answer to a frame. Raises ClusterError with what it reports, or when it is gone."""
        if self.gone.is_set():
            raise ClusterError(self.why)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._pipe.send(kind, number, json.dumps(given).encode())
        try:
            return await answer
        finally:
            del self._answers[number]

    def send(self, kind: Kind, number: int, *payload: bytes) -> None:
        self._pipe.send(kind, number, *payload)

    def _take(self, kind: Kind, number: int, payload: bytes) -> None:
        if kind not in (Kind.DONE, Kind.FAILED):
            self._take_frame(kind, number, payload)
        elif (answer := self._answers.get(number)) is not None and not answer.done():
            text = payload.decode()
            if kind == Kind.DONE:
                answer.set_result(text)
            else:
                answer.set_exception(ClusterError(text))

    async def close(self) -> None:
        """The run is over: let it close the hosts, if it does that soon."""
        if self._life is None:
            return
        self._pipe.send(Kind.CLOSE, 0)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE):
                await self.gone.wait()
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
        await asyncio.wait([self._life])
