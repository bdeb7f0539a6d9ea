"""Where graphs without a checkpointer of their own keep their checkpoints: in one SQLite file, with LangGraph's
own saver, whose writes are committed in groups.

Imported when a graph is called: it needs `langgraph-checkpoint-sqlite`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from agentdeck.agents.frameworks.framework import make_private

#: Seconds between the first write and the commit of a group. A commit takes three changes of threads, which is
#: more than a small node takes.
GATHER = 0.005
#: Seconds that the checkpoints of a graph that has ended are kept. Its result is recorded within that time; if
#: the process ends before, the next attempt takes the result from here.
KEEP = 2.0
#: Seconds after the last call in which the file stays open.
IDLE = 5.0
#: Seconds to wait for other processes that write.
BUSY = 30.0

CHECKPOINT = (
    "INSERT OR REPLACE INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type,"
    " checkpoint, metadata) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
WRITE = (
    "INSERT OR {} INTO writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type,"
    " value) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
REPLACE, IGNORE = WRITE.format("REPLACE"), WRITE.format("IGNORE")
DELETE = ("DELETE FROM checkpoints WHERE thread_id = ?", "DELETE FROM writes WHERE thread_id = ?")


@dataclass(slots=True, eq=False)
class _Group:
    """What one commit writes: first the threads that are deleted, then rows."""

    committed: asyncio.Future[None]
    deleted: list[tuple[str]] = field(default_factory=list)
    checkpoints: list[tuple[Any, ...]] = field(default_factory=list)
    writes: list[tuple[str, list[tuple[Any, ...]]]] = field(default_factory=list)


class GroupSaver(AsyncSqliteSaver):  # type: ignore[misc]
    """LangGraph's saver with a write behind: `aput` and `aput_writes` return at once, and everything that was
    written within GATHER is one commit. `settle` waits for it; what reads does that first."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        super().__init__(connection)
        self._group: _Group | None = None  # what the next commit writes
        self._writing: _Group | None = None
        self._hurry = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        #: The threads that are new, with the namespaces that were written: others are empty.
        self._new: dict[str, set[str]] = {}
        #: The threads of graphs that have ended, and when.
        self._ended: dict[str, float] = {}

    async def setup(self) -> None:
        if not self.is_setup:
            await super().setup()
            # What is lost when the power fails is computed again; a process that is killed loses nothing.
            await self.conn.execute("PRAGMA synchronous=NORMAL")

    async def begin(self, thread: str) -> CheckpointTuple | None:
        """The last checkpoint of a thread; None for a new one. One that has ended in this process begins anew."""
        if self._ended.pop(thread, None) is not None:
            await self.settle()
            self._delete([thread])
        found = await self.aget_tuple({"configurable": {"thread_id": thread, "checkpoint_ns": ""}})
        if found is None:
            self._new[thread] = set()
        return found

    def leave(self, thread: str) -> None:
        """A call of this thread is over."""
        self._new.pop(thread, None)

    def end(self, thread: str) -> None:
        """The graph of a thread has ended: its checkpoints are deleted KEEP seconds later."""
        now = self.loop.time()
        self._ended[thread] = now
        old = [one for one, at in self._ended.items() if at < now - KEEP]
        for one in old:
            del self._ended[one]
        self._delete(old)

    async def finish(self) -> None:
        """Commit what is left, and delete the threads that have ended. The task that writes may be gone: when a
        loop is closed, all its tasks are cancelled."""
        await self._write_group()
        self._delete(list(self._ended))
        self._ended.clear()
        await self._write_group()

    # Writing ----------------------------------------------------------------------------------------------------

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        await self.setup()
        at = config["configurable"]
        thread, namespace, number = str(at["thread_id"]), at["checkpoint_ns"], checkpoint["id"]
        kind, data = self.serde.dumps_typed(checkpoint)
        about = json.dumps(get_checkpoint_metadata(config, metadata), ensure_ascii=False).encode(errors="ignore")
        row = (thread, namespace, number, at.get("checkpoint_id"), kind, data, about)
        self._next_group(thread, namespace).checkpoints.append(row)
        return {
            "configurable": {"thread_id": at["thread_id"], "checkpoint_ns": namespace, "checkpoint_id": number}
        }

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self.setup()
        at = config["configurable"]
        thread, namespace = str(at["thread_id"]), str(at["checkpoint_ns"])
        key = thread, namespace, str(at["checkpoint_id"]), task_id, task_path
        rows = [
            (*key, WRITES_IDX_MAP.get(channel, index), channel, *self.serde.dumps_typed(value))
            for index, (channel, value) in enumerate(writes)
        ]
        statement = REPLACE if all(channel in WRITES_IDX_MAP for channel, _ in writes) else IGNORE
        before = self._next_group(thread, namespace).writes
        if before and before[-1][0] == statement:
            before[-1][1].extend(rows)
        else:
            before.append((statement, rows))

    async def adelete_thread(self, thread_id: str) -> None:
        await self.settle()
        await super().adelete_thread(thread_id)

    def _delete(self, threads: Sequence[str]) -> None:
        if threads:
            self._next_group().deleted.extend((one,) for one in threads)

    def _next_group(self, thread: str = "", namespace: str = "") -> _Group:
        if (names := self._new.get(thread)) is not None:
            names.add(namespace)
        if self._group is None:
            self._group = _Group(self.loop.create_future())
            if self._writer is None:
                self._writer = self.loop.create_task(self._write_groups(), context=Context())
        return self._group

    async def settle(self, *, hurry: bool = True) -> None:
        """Wait until everything so far is committed; with `hurry` it is at once, else after GATHER. Raises what
        SQLite raises."""
        await asyncio.sleep(0)  # a write that has just been submitted begins
        if self._group is not None and hurry:
            self._hurry.set()
        if (group := self._group or self._writing) is not None:
            await asyncio.shield(group.committed)

    async def _write_groups(self) -> None:
        try:
            while self._group is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(GATHER):
                        await self._hurry.wait()
                self._hurry.clear()
                await self._write_group()
        finally:
            self._writer = None

    async def _write_group(self) -> None:
        if (group := self._group) is None:
            return
        self._group, self._writing = None, group
        try:
            await self._commit(group)
        except BaseException as error:
            if not isinstance(error, Exception):
                group.committed.cancel()
                raise
            group.committed.set_exception(error)
            group.committed.exception()  # it may be that no one waits for it
        else:
            group.committed.set_result(None)
        finally:
            self._writing = None

    async def _commit(self, group: _Group) -> None:
        async with self.lock:
            try:
                if group.deleted:
                    for statement in DELETE:
                        await self.conn.executemany(statement, group.deleted)
                if group.checkpoints:
                    await self.conn.executemany(CHECKPOINT, group.checkpoints)
                for statement, rows in group.writes:
                    await self.conn.executemany(statement, rows)
                await self.conn.commit()
            except BaseException:
                await self.conn.rollback()
                raise

    # Reading ----------------------------------------------------------------------------------------------------

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        at = config["configurable"]
        names = self._new.get(str(at["thread_id"]))
        if names is not None and at.get("checkpoint_ns", "") not in names:
            return None
        await self.settle()
        return await super().aget_tuple(config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        await self.settle()
        async for one in super().alist(config, filter=filter, before=before, limit=limit):
            yield one

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        await self.settle()
        found: Mapping[str, DeltaChannelHistory] = await super().aget_delta_channel_history(
            config=config, channels=channels
        )
        return found


# Files that are open --------------------------------------------------------------------------------------------


class _OpenFile:
    """A file of checkpoints that all calls of one event loop share. It is closed IDLE seconds after the last
    call, and with the loop."""

    def __init__(self, path: str) -> None:
        self.users = 0
        self.saver: asyncio.Future[GroupSaver] = asyncio.get_running_loop().create_future()
        self.left = asyncio.Event()
        self.closing = False
        self.task = asyncio.get_running_loop().create_task(self._keep(path), context=Context())

    async def _keep(self, path: str) -> None:
        try:
            make_private(path)
            async with aiosqlite.connect(path, timeout=BUSY) as connection:
                saver = GroupSaver(connection)
                await saver.setup()
                self.saver.set_result(saver)
                try:
                    while not await self._is_idle():
                        pass
                finally:
                    self.closing = True
                    await saver.finish()
        except Exception as error:
            self.closing = True
            if not self.saver.done():
                self.saver.set_exception(OSError(f"no checkpoints can be kept in {path}: {error}"))

    async def _is_idle(self) -> bool:
        self.left.clear()
        await self.left.wait()
        await asyncio.sleep(IDLE)
        return not self.users


_open: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _OpenFile]] = WeakKeyDictionary()


@asynccontextmanager
async def open_saver(path: str) -> AsyncIterator[GroupSaver]:
    """The saver of a file, for one call."""
    files = _open.setdefault(asyncio.get_running_loop(), {})
    while (file := files.get(path)) is None or file.closing:
        if file is None:
            files[path] = _OpenFile(path)
        else:
            await asyncio.wait([file.task])
            if files.get(path) is file:
                del files[path]
    file.users += 1
    try:
        yield await asyncio.shield(file.saver)
    finally:
        file.users -= 1
        if not file.users:
            file.left.set()
