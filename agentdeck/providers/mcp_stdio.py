"""An MCP server that is a program: starts it, exchanges messages with it, and notices at once that it has ended.

The transport of the package `mcp` notices the end of its server only when all its pipes are closed, which a
process that the server left behind (the child of a wrapper) can delay for minutes; and it reports neither how
the server ended nor what it wrote to stderr."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import IO, Any, NamedTuple

import anyio
from anyio.abc import Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

#: Seconds from the end of stdin to TERM, and from TERM to KILL.
GRACE = 2.0
#: Seconds between two checks whether the server still runs: while it starts, and at most.
LOOK, LONGEST_LOOK = 0.02, 0.25
#: Seconds for which output is still read after the server has ended.
DRAIN = 0.2
#: The largest message in bytes.
LONGEST_MESSAGE = 32 * 1024 * 1024
#: Bytes of stderr that a failure includes.
STDERR_TAIL = 4_000
#: Bytes of stderr that are read at once for the log of a step.
STDERR_AT_ONCE = 64 * 1024

_CLOSED = (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)


class StdioServer(NamedTuple):
    """A running server. `ended` is set as soon as its process has ended."""

    process: Process
    ended: anyio.Event
    read: MemoryObjectReceiveStream[Any]
    write: MemoryObjectSendStream[Any]

    @property
    def ending(self) -> str:
        """How the process ended."""
        code = self.process.returncode
        if code is None:
            return "it still runs"
        return f"ended by signal {-code}" if code < 0 else f"ended with code {code}"


async def start_process(command: Sequence[str], env: Mapping[str, str], stderr: IO[bytes]) -> Process:
    """The server's process, in a process group of its own. Raises OSError."""
    return await anyio.open_process(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=env,
        start_new_session=True,
    )


def stderr_tail(stderr: IO[bytes]) -> str:
    """The end of what the server wrote to stderr, which is this file."""
    number = stderr.fileno()
    size = os.fstat(number).st_size
    tail = os.pread(number, STDERR_TAIL, max(0, size - STDERR_TAIL))
    return tail.decode("utf-8", "replace").strip()


def stderr_from(stderr: IO[bytes], start: int) -> tuple[str, int]:
    """The whole lines that the server has written to stderr from `start` on, and where the next one begins. Of
    very much, only the end is read."""
    number = stderr.fileno()
    size = os.fstat(number).st_size
    start = max(start, size - STDERR_AT_ONCE)
    whole = os.pread(number, size - start, start).rpartition(b"\n")[0]
    return (whole.decode("utf-8", "replace"), start + len(whole) + 1) if whole else ("", start)


@asynccontextmanager
async def stdio_server(
    command: Sequence[str], env: Mapping[str, str], stderr: IO[bytes]
) -> AsyncIterator[StdioServer]:
    """Start a server; its `read` and `write` are the arguments of `mcp.ClientSession`. On leaving, the server is
    ended, with its process group. Raises OSError where it cannot be started."""
    from mcp.shared.message import SessionMessage

    parse = _parser()
    with anyio.CancelScope(shield=True):  # a started process must not be lost
        process = await start_process(command, env, stderr)
    to_session, read = anyio.create_memory_object_stream[Any](0)
    write, from_session = anyio.create_memory_object_stream[Any](0)
    server = StdioServer(process, anyio.Event(), read, write)

    async def pass_answers() -> None:
        assert process.stdout is not None
        pieces: list[bytes] = []  # of an incomplete line
        with suppress(anyio.EndOfStream, *_CLOSED):
            while sum(map(len, pieces)) <= LONGEST_MESSAGE:
                first, *more = (await process.stdout.receive()).split(b"\n")
                pieces.append(first)
                if not more:
                    continue
                lines, pieces = [b"".join(pieces), *more[:-1]], [more[-1]]
                for line in filter(bytes.strip, lines):
                    try:
                        message: Any = SessionMessage(parse(line))
                    except ValueError as error:
                        message = error  # the server printed something else; the session reports it
                    await to_session.send(message)

    async def pass_requests() -> None:
        assert process.stdin is not None
        with suppress(*_CLOSED):
            async for sent in from_session:
                text = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
                await process.stdin.send(text.encode() + b"\n")

    async def wait_for_exit() -> None:
        """`Process.wait` also waits for the pipes."""
        pause = LOOK
        while process.returncode is None:
            await anyio.sleep(pause)
            pause = min(LONGEST_LOOK, pause * 1.1)
        with anyio.move_on_after(DRAIN):
            await answered.wait()
        server.ended.set()

    answered = anyio.Event()

    async def answers() -> None:
        try:
            await pass_answers()
        finally:
            answered.set()
            to_session.close()

    try:
        async with anyio.create_task_group() as tasks:
            for task in (answers, pass_requests, wait_for_exit):
                tasks.start_soon(task)
            try:
                yield server
            finally:
                tasks.cancel_scope.cancel()
    finally:
        for stream in (to_session, read, write, from_session):
            stream.close()
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _end(process: Process) -> None:
    """Close stdin, which asks the server to end; then end its group by signals."""
    assert process.stdin is not None
    with suppress(*_CLOSED):
        await process.stdin.aclose()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with anyio.move_on_after(GRACE):
            while process.returncode is None:  # noqa: ASYNC110
                await anyio.sleep(LOOK)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
    transport: Any = getattr(getattr(process, "_process", None), "_transport", None)
    if transport is not None:
        transport.close()


def _parser() -> Callable[[bytes], Any]:
    """The function that parses a message, in the first and in the second major version of the package."""
    from mcp import types

    messages: Any = types
    adapter = getattr(messages, "jsonrpc_message_adapter", None)
    if adapter is None:
        return messages.JSONRPCMessage.model_validate_json  # type: ignore[no-any-return]
    return lambda line: adapter.validate_json(line, by_name=False)
