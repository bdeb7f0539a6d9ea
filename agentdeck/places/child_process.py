"""The parent's end of one child process: its start, its messages, its end. The parent is the engine, or the host
on a worker of a cluster.

What the child itself prints, beside Python's own `print`, which it attributes to calls, comes on its stdout and
stderr and goes to the log of the call that it executes. All pipes are read without waiting, so when the last
message of a call arrives, everything that was printed before can be logged first."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread

from agentdeck.errors import StepError
from agentdeck.processes.children import Children

CHILD = str(Path(__file__).with_name("child.py"))
#: Seconds in which a child has to say that it is ready.
START = 30.0
#: Seconds from the cancellation of a call to TERM, and to KILL, where it has not ended.
TERM, KILL = 0.5, 0.9
#: Seconds that a child has to end when the run is over.
CLOSE = 0.5
#: Seconds between two checks whether a child lives that has not closed its pipe.
LOOK = 0.5
#: A child whose message is longer than this is ended: no result is.
LONGEST = 64_000_000
#: Bytes of a line of output that are logged.
LONGEST_LINE = 65_536
#: The last lines on stderr that are kept, to say why a child ended.
TAIL = 8
HEAD = re.compile(rb'\["(\w+)", (\d+)')

#: The kinds of the last message of a call. `lost` is not from the child: its process is gone.
LAST = ("result", "fault", "cancelled", "prepared", "lost", "answer")


class ChildCall(ABC):
    """A call that a child executes. `ended` is set with its last message, or when its process is gone; `noticed`
    when the child's event loop has seen its cancellation."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ended = asyncio.Event()
        self.noticed = False
        self.child: ChildProcess | None = None

    @abstractmethod
    def take(self, kind: str, line: bytes) -> None:
        """A message of the call, as it came: a line of JSON. The last one is of a kind of LAST."""


class ChildProcess:
    """One child. `place` is the name of its place, for messages. `calls` are under way in it. `exclusive`: its
    call needs it alone. `retired`: it gets no more calls."""

    def __init__(self, place: str, command: list[str], env: Mapping[str, str], cwd: Path | None) -> None:
        self.place = place
        self.calls: dict[int, ChildCall] = {}
        self.known: set[str] = set()
        self.exclusive = False
        self.retired = False
        self.pid = 0
        self.python = ""
        self._command, self._env, self._cwd = command, env, cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._write: asyncio.WriteTransport | None = None
        self._unsent: list[bytes] = []
        self._printed = False  # what it printed before the messages that are taken now has been logged
        self._inputs: dict[int, Callable[[bytes], None]] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._lines = {"out": b"", "err": b""}
        self._tail: list[str] = []
        self._ready = asyncio.Event()
        self._closed = asyncio.Event()  # the child has closed its pipe
        self.gone = asyncio.Event()
        self._why = ""  # why the engine ended it, while it had calls
        self._life: asyncio.Task[None] | None = None
        self._ends: asyncio.Task[None] | None = None

    # Its life

    async def start(self, children: Children, hello: Mapping[str, Any]) -> None:
        """Start it, and wait until it is ready; `hello` is its first message. Raises StepError of kind `setup`
        where that is not possible."""
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(children, started))
        try:
            await asyncio.shield(started)
            self.send({"do": "hello", **hello})
            waits = [asyncio.ensure_future(one.wait()) for one in (self._ready, self.gone)]
            await asyncio.wait(waits, timeout=START, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()
            if not self._ready.is_set():
                await self.end(0.0)
                raise StepError("setup", f"the place {self.place} has no process: {self._not_ready()}")
        except BaseException:
            self.retired = True
            await self.end(0.0)
            raise

    def _not_ready(self) -> str:
        program = self._command[0]
        said = f": {self._tail[-1]}" if self._tail else ""
        code = self._process.returncode if self._process is not None else None
        if code is None or code == -signal.SIGKILL:
            return f"{program} was not ready within {START:g} s{said}; is it a Python?"
        return f"{program} {ending(code)} before it was ready{said}; is it a Python, 3.10 or later?"

    async def _live(self, children: Children, started: asyncio.Future[None]) -> None:
        """The life of the process, from its start until nothing of it is left."""
        with children.child() as child:
            child.ends_whole = True
            try:
                await self._spawn(child.environment(self._env))
            except OSError as error:
                self.gone.set()
                what = f"{self._command[0]} cannot be started: {error.strerror}"
                started.set_exception(StepError("setup", f"the place {self.place} has no process: {what}"))
                return
            child.started(self.pid)
            started.set_result(None)
            assert self._process is not None
            try:
                while self._process.poll() is None:
                    await _within(self._closed, time.monotonic() + LOOK)
                    if self._closed.is_set():
                        await asyncio.sleep(0.005)
                self._read_rest()
                self._close_pipes()
            finally:
                self.retired = True
                self.gone.set()
                why = self._why or f"process {self.pid} of the place {self.place} {self._ended()}"
                for call in list(self.calls.values()):
                    self._end_call(call, "lost", json.dumps(("lost", call.number, why)).encode())

    def _ended(self) -> str:
        assert self._process is not None
        said = f" ({self._tail[-1]})" if self._tail else ""
        code = self._process.returncode
        return "is out of reach" if code is None else f"{ending(code)}{said}"

    async def _spawn(self, env: dict[str, str]) -> None:
        to_child, write = os.pipe()
        read, from_child = os.pipe()
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        ends = (to_child, from_child, out_end, err_end)

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [*self._command, "-u", CHILD, str(to_child), str(from_child)],
                stdin=subprocess.DEVNULL,
                stdout=out_end,
                stderr=err_end,
                pass_fds=(to_child, from_child),
                env=env,
                cwd=self._cwd,
                start_new_session=True,
            )

        try:
            process = self._process = await anyio.to_thread.run_sync(start)
        except BaseException:
            for end in (write, read, out, err):
                os.close(end)
            raise
        finally:
            for end in ends:
                os.close(end)
        self.pid = process.pid
        loop = asyncio.get_running_loop()
        self._write, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(write, "wb", 0))
        self._inputs = {read: self._take, out: partial(self._print, "out"), err: partial(self._print, "err")}
        for end in self._inputs:
            os.set_blocking(end, False)
            loop.add_reader(end, self._read, end)

    async def end(self, grace: float) -> None:
        """End it, and all processes that it has started: TERM, and KILL after the grace."""
        self.retired = True
        if self.pid and not self.gone.is_set():
            if grace:
                self._signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.gone.wait(), grace)
            if not self.gone.is_set():
                self._signal(signal.SIGKILL)
        if self._life is not None:
            await asyncio.wait([self._life])

    async def close(self) -> None:
        """The run is over: let it end by itself, if it does that soon."""
        self.retired = True
        self._flush()
        if self._write is not None:
            self._write.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.gone.wait(), CLOSE)
        await self.end(CLOSE)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self.pid, number)

    # Its pipes

    def send(self, message: Mapping[str, Any]) -> None:
        self._send(json.dumps(message).encode())

    def sign_of_life(self) -> None:
        self._send(b"")

    def _send(self, line: bytes) -> None:
        """Send a message, with others of the same turn of the event loop: each write is a system call, and wakes
        the child."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(line + b"\n")

    def _flush(self) -> None:
        data = b"".join(self._unsent)
        self._unsent.clear()
        if data and self._write is not None and not self._write.is_closing():
            self._write.write(data)

    def _read(self, end: int) -> bool:
        """Take what a pipe has; False where that is nothing."""
        try:
            data = os.read(end, 1 << 18)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self._inputs[end](data)
            return True
        self._close_pipe(end)
        return False

    def _read_rest(self) -> None:
        for end in list(self._inputs):
            while end in self._inputs and self._read(end):
                pass
        for level, line in self._lines.items():
            if line:
                self._log(level, line)

    def _read_output(self) -> None:
        """Take what the child has printed so far."""
        for end, take in list(self._inputs.items()):
            while take != self._take and end in self._inputs and self._read(end):
                pass

    def _close_pipe(self, end: int) -> None:
        asyncio.get_running_loop().remove_reader(end)
        os.close(end)
        if self._inputs.pop(end) == self._take:
            self._closed.set()

    def _close_pipes(self) -> None:
        for end in list(self._inputs):
            self._close_pipe(end)
        if self._write is not None and not self._write.is_closing():
            self._write.abort()

    def _take(self, data: bytes) -> None:
        """Messages: a part of one, or several."""
        self._printed = False
        *lines, last = data.split(b"\n")
        for line in lines:
            self._parts.append(line)
            whole, self._parts, self._size = b"".join(self._parts), [], 0
            self._dispatch(whole)
        self._parts.append(last)
        self._size += len(last)
        if self._size > LONGEST:
            self._break("sent a message that is too long")

    def _dispatch(self, line: bytes) -> None:
        head = HEAD.match(line)
        if head is None:
            self._break("sent what is no message")
            return
        kind, number = head[1].decode(), int(head[2])
        if kind == "ready":
            self.python = json.loads(line)[2]
            self._ready.set()
            return
        call = self.calls.get(number)
        if call is None:
            return
        if kind in LAST:
            if not self._printed:
                self._read_output()
                self._printed = True
            self._end_call(call, kind, line)
        elif kind == "cancelling":
            call.noticed = True
        else:
            call.take(kind, line)

    def _break(self, what: str) -> None:
        self._why = self._why or f"process {self.pid} of the place {self.place} {what} on its private pipe"
        self._signal(signal.SIGKILL)

    def _print(self, level: str, data: bytes) -> None:
        *lines, rest = (self._lines[level] + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self._lines[level] = rest
        for line in lines:
            self._log(level, line)

    def _log(self, level: str, line: bytes) -> None:
        """A line that the process has printed: to the log of its call; of several, to that of the first one, with
        the number of the process."""
        text = line[:LONGEST_LINE].removesuffix(b"\r").decode("utf-8", "replace")
        if level == "err" and text.strip():
            self._tail = [*self._tail[1 - TAIL :], text.strip()[:500]]
        calls = list(self.calls.values())
        if calls:
            _log(calls[0], text if len(calls) == 1 else f"process {self.pid}: {text}", level)

    # Its calls

    def add(self, call: ChildCall, message: bytes) -> None:
        """Begin a call, with the message that describes it."""
        self.calls[call.number] = call
        call.child = self
        self._send(message)

    def _end_call(self, call: ChildCall, kind: str, line: bytes) -> None:
        """The call is over. A retired child is ended with its last one."""
        del self.calls[call.number]
        call.take(kind, line)
        call.ended.set()
        if not self.calls:
            self.exclusive = False
            if self.retired and self._ends is None and not self.gone.is_set():
                self._ends = asyncio.create_task(self.end(KILL - TERM))

    async def cancel(self, call: ChildCall, now: bool) -> None:
        """End a call: by its own means, else with the process. Calls beside it are given the time to end, unless
        this one keeps all of them from going on."""
        begun = time.monotonic()
        self.send({"do": "cancel", "id": call.number})
        alone = len(self.calls) == 1
        if not (now and alone):
            await _within(call.ended, begun + TERM)
        if call.ended.is_set():
            return
        if not alone:
            await _within(call.ended, begun + KILL)
            if call.ended.is_set():
                return
        self.retired = True
        if len(self.calls) == 1:
            await self.end(0.0 if now else KILL - TERM)
        elif not call.noticed:
            what = f"process {self.pid} of the place {self.place} was ended"
            self._why = f"{what}: another call blocked it and ignored its cancellation"
            await self.end(0.0)
        else:
            what = f"process {self.pid} of the place {self.place} is ended when its other calls have ended"
            _log(call, f"abandoned, still running: {what}", "warning")
            self._end_call(call, "cancelled", json.dumps(("cancelled", call.number)).encode())


def _log(call: ChildCall, text: str, level: str) -> None:
    call.take("log", json.dumps(("log", call.number, text, level)).encode())


async def _within(event: asyncio.Event, until: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), max(0.0, until - time.monotonic()))


def ending(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
