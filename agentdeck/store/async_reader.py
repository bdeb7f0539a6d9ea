"""Reads the store from an event loop, through aiosqlite.

A query runs in the thread of an aiosqlite connection, with its Python part (decoding rows, folding events): a
page of 2,000 events takes about 20 ms to decode, too long for a loop that has keys to answer. The queries are the
methods of `Reader`; nothing is written twice.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from inspect import isgenerator
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Concatenate, ParamSpec, TypeVar

import aiosqlite
import anyio

from agentdeck.errors import StoreError
from agentdeck.store.reader import Reader
from agentdeck.store.schema import open_for_reading

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds that `close` waits for a query that does not react to the interrupt: one that waits for the disk.
CLOSE_TIMEOUT = 1.0


class _NoStore(Exception):
    """The file does not exist yet."""


class _Connection(aiosqlite.Connection):
    """An aiosqlite connection that runs whole functions in its thread.

    aiosqlite has public methods for single statements only. `_execute`, which those call, and `_thread` are used
    here alone; pyproject.toml pins the minor version, and tests/store/test_async_reader.py covers both.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(self._open, iter_chunk_size=64)
        self._path = path
        self._reader: Reader | None = None
        # aiosqlite's own thread is no daemon: a read that hangs, from a network drive that is gone, would keep
        # the interpreter from exiting.
        work = self._thread.run
        self._thread = Thread(target=self._work, args=(work,), name="agentdeck-aiosqlite", daemon=True)

    def _work(self, work: Callable[[], None]) -> None:
        try:
            work()
        except RuntimeError:
            pass  # the loop that awaited the last result was closed; `work` handles all other errors
        finally:
            if self._reader is not None:
                self._reader.close()

    def _open(self) -> sqlite3.Connection:
        connection = open_for_reading(self._path)
        if connection is None:
            raise _NoStore
        self._reader = Reader(self._path, lambda _: connection)
        return connection

    async def run(self, function: Callable[[Reader], T]) -> T:
        assert self._reader is not None
        result: T = await self._execute(function, self._reader)  # type: ignore[no-untyped-call]
        return result

    async def end(self) -> None:
        """Interrupt the query in progress, close the connection and end the thread.

        Returns when the thread has ended, or after CLOSE_TIMEOUT. A cancellation is raised only then, so that the
        connection is closed when the loop is.
        """
        if self._reader is not None:
            self._reader.interrupt()
        self.stop()
        until, pause, cancelled = time.monotonic() + CLOSE_TIMEOUT, 0.0, None
        with anyio.CancelScope(shield=True):  # a cancelled scope would end each sleep at once
            while self._thread.is_alive() and time.monotonic() < until:
                try:
                    await asyncio.sleep(pause)
                except asyncio.CancelledError as error:
                    cancelled = error
                pause = min(0.02, pause + 0.0005)
        if cancelled is not None:
            raise cancelled


class AsyncReader:
    """Runs queries one after another, each in the connection's thread. Opened by the first query; `close` it, or
    use it in `async with`. A missing file reads as a store without runs.

    `close` interrupts the query in progress, so it never waits long, not even for a query that hangs.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._connection: _Connection | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> AsyncReader:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def read(self, query: Callable[Concatenate[Reader, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `query` returns for a Reader of this store: `await reader.read(Reader.runs, 50)`.

        It is called in another thread: it must touch nothing that belongs to the loop, and return a complete
        value, no iterator. Raises what the query raises, StoreError when the file cannot be read.
        """
        async with self._opening:
            if self._closed:
                raise StoreError(f"{self.path}: this reader is closed")
            connection = self._connection or await self._open()
        if connection is None:
            return _complete(query(Reader(self.path, lambda _: None), *args, **kwargs))
        return await connection.run(lambda reader: _complete(query(reader, *args, **kwargs)))

    async def _open(self) -> _Connection | None:
        connection = _Connection(self.path)
        try:
            await connection
        except _NoStore:
            await connection.end()
            return None
        except BaseException:
            await connection.end()
            raise
        if self._closed:  # while it was being opened
            await connection.end()
            raise StoreError(f"{self.path}: this reader is closed")
        self._connection = connection
        return connection

    async def close(self) -> None:
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.end()


def _complete(value: T) -> T:
    if isgenerator(value):
        raise TypeError("an iterator would read in the loop's thread; return a list")
    return value
