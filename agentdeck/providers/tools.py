"""Tools of the MCP servers of the deck (package `mcp`, an extra): their sessions and calls."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import IO, Any, NamedTuple, TypeAlias

import anyio
import anyio.to_thread

from agentdeck.errors import StepError
from agentdeck.processes.children import Children
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.mcp_stdio import StdioServer, stderr_from, stderr_tail, stdio_server
from agentdeck.providers.provider import ToolSpec
from agentdeck.workflow.deck import McpServer
from agentdeck.workflow.model import Data

START = 30.0
#: Seconds that a call may take without progress.
CALL = 60.0
#: Seconds between two looks for what a server has written to stderr.
READ_STDERR = 0.2
#: The largest number of pages that are read of a list of tools.
MOST_PAGES = 100
#: The code of the error that the package raises where the connection is gone.
CONNECTION_CLOSED = -32000

#: The largest part of a tool's answer that the model gets, in characters.
MOST = 100_000
#: The loggers of the package.
LOGGERS = ("mcp", "client")

#: Called with a progress message of a call, or with what the server wrote to stderr.
Progress = Callable[[str], None]
#: What a server answers, as in the protocol: `content`, `structuredContent`, `isError`.
CallResult: TypeAlias = Mapping[str, Data]


class ToolResult(NamedTuple):
    """A tool's answer; `wrong`: the tool reports that it failed."""

    text: str
    wrong: bool


def _discard(text: str) -> None:
    pass


class Toolbox:
    """The MCP servers of a run. Each is started on first use, and again when it has ended."""

    def __init__(self, specs: Mapping[str, McpServer], keys: KeyStore, children: Children | None = None) -> None:
        self._specs = specs
        self._keys = keys
        self._children = children or Children()
        self._servers: dict[str, McpConnection] = {}

    async def tools(self, names: Sequence[str]) -> list[ToolSpec]:
        """The tools with these `server/tool` names, under names that models accept (`named`)."""
        found: list[ToolSpec] = []
        called: dict[str, str] = {}
        for name in names:
            if called.setdefault(named(name), name) != name:
                what = f"{called[named(name)]} and {name} have the same name for models, {named(name)}"
                raise StepError("setup", f"{what}; give the prompt one of them")
            server, _, tool = name.partition("/")
            known = (await self._server(server)).tools
            if tool not in known:
                shown = ", ".join([*list(known)[:20], *(["…"] if len(known) > 20 else [])])
                raise StepError("setup", f"the MCP server {server} has no tool {tool}; it has {shown}")
            found.append(known[tool]._replace(name=named(name)))
        return found

    async def call(self, name: str, arguments: Mapping[str, Data], progress: Progress = _discard) -> ToolResult:
        """Call `server/tool`; `progress` is called with the tool's progress messages. An error inside the tool
        is a result; an unreachable server raises StepError."""
        server, _, tool = name.partition("/")
        found = await self._server(server)
        result = result_of(await found.call(tool, arguments, progress, CALL))
        return result._replace(text=self._keys.hide(result.text)[:MOST])

    async def call_alone(
        self, name: str, arguments: Mapping[str, Data], progress: Progress, written: Progress
    ) -> CallResult:
        """Call `server/tool` without a limit on its time, and return all it answers. `written` gets what the
        server writes to stderr meanwhile; calls of one server at the same time share that."""
        server, _, tool = name.partition("/")
        found = await self._server(server)
        async with found.stderr_to(written):
            return await found.call(tool, arguments, progress, math.inf)

    async def close(self) -> None:
        servers, self._servers = self._servers, {}
        for server in servers.values():
            await server.close()

    async def _server(self, name: str) -> McpConnection:
        server = self._servers.get(name)
        if server is None or server.dead:
            if name not in self._specs:
                raise StepError("setup", f"there is no MCP server {name} in the deck")
            lost, server = server, McpConnection(name, self._specs[name], self._keys, self._children)
            self._servers[name] = server
            if lost is not None:
                await lost.close()
        await server.ready()
        return server


def named(name: str) -> str:
    """`server/tool` as a name that models accept."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name.replace("/", "__"))[:64]


class McpConnection:
    """One session. It runs in a task of its own, as the task that opens a session has to close it."""

    def __init__(self, name: str, spec: McpServer, keys: KeyStore, children: Children) -> None:
        self.tools: dict[str, ToolSpec] = {}
        self._name = name
        self._spec = spec
        self._keys = keys
        self._children = children
        self._session: Any = None
        self._process: StdioServer | None = None
        self._stderr: IO[bytes] | None = None
        self._stderr_read = 0
        self._fault: StepError | None = None
        self._up = anyio.Event()
        self._stop = anyio.Event()
        self._task = asyncio.create_task(self._live())

    @property
    def dead(self) -> bool:
        return self._task.done() or self._stop.is_set()

    async def ready(self) -> None:
        with anyio.move_on_after(START):
            await self._up.wait()
        if self._fault is not None:
            raise self._fault
        if not self._up.is_set():
            raise self._failure("network", f"did not start within {START:g} s")

    async def call(
        self, tool: str, arguments: Mapping[str, Data], progress: Progress, patience: float
    ) -> CallResult:
        """The tool's result; `patience` is how many seconds it may take without progress. Raises StepError of
        kind `network` where the server is lost."""

        async def progressed(done: float, total: float | None, message: str | None) -> None:
            scope.deadline = anyio.current_time() + patience
            of = "" if total is None else f" of {total:g}"
            progress(self._keys.hide(f"{done:g}{of}" + (f" {message}" if message else "")))

        result: Any = None
        with anyio.CancelScope(deadline=anyio.current_time() + patience) as scope:
            try:
                result = await self._unless_ended(
                    lambda: self._session.call_tool(tool, dict(arguments), progress_callback=progressed)
                )
            except _Ended:
                self._stop.set()
                raise self._failure("network", f"disconnected during {tool}") from None
            except Exception as error:
                code = getattr(getattr(error, "error", None), "code", CONNECTION_CLOSED)
                if code != CONNECTION_CLOSED:  # the server refused the call, and still runs
                    return _failed(f"the call was refused: {_first(error)}")
                if type(error).__name__ == "ValidationError":  # of pydantic, which the package parses with
                    return _failed(f"the tool's answer cannot be read: {_first(error)}")
                self._stop.set()
                raise self._failure("network", f"disconnected during {tool}: {_first(error)}") from None
        if result is None:
            return _failed(f"the tool took more than {patience:g} s without progress")
        document: CallResult = result.model_dump(by_alias=True, mode="json")
        return document

    @asynccontextmanager
    async def stderr_to(self, written: Progress) -> AsyncIterator[None]:
        """Pass on what the server writes to stderr while this is open."""
        if self._stderr is None or self._process is None:
            yield
            return

        async def follow() -> None:
            while True:
                await anyio.sleep(READ_STDERR)
                self._pass_stderr(written)

        task = asyncio.create_task(follow())
        try:
            yield
        finally:
            task.cancel()
            self._pass_stderr(written)

    def _pass_stderr(self, written: Progress) -> None:
        if self._stderr is None:  # the session has ended
            return
        text, self._stderr_read = stderr_from(self._stderr, self._stderr_read)
        if text:
            written(self._keys.hide(text))

    async def close(self) -> None:
        self._stop.set()
        try:
            await asyncio.wait([self._task], timeout=8)
        finally:  # also where the run does not wait so long
            if not self._task.done():
                self._task.cancel()
        await asyncio.wait([self._task], timeout=1)

    async def _live(self) -> None:
        with tempfile.TemporaryFile() as self._stderr:
            try:
                async with self._open() as session:
                    with anyio.fail_after(START):
                        await self._unless_ended(session.initialize)
                        await self._unless_ended(lambda: self._list(session))
                    self._session = session
                    self._up.set()
                    await self._stop.wait()
            except Exception as error:
                self._fault = self._start_failure(_bottom(error))
            finally:
                self._up.set()
        self._stderr = None

    def _start_failure(self, error: BaseException) -> StepError:
        if isinstance(error, StepError):
            return error
        kind = "setup" if self._spec.command else "network"
        if isinstance(error, _Ended):
            return self._failure(kind, "cannot be used")
        if isinstance(error, TimeoutError):
            return self._failure("network", f"did not start within {START:g} s")
        return self._failure(kind, f"cannot be used: {_first(error)}")

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Any]:
        """An open session, before its initialization."""
        await anyio.to_thread.run_sync(_import_package)
        from mcp import ClientSession
        from mcp.client.stdio import get_default_environment
        from mcp.client.streamable_http import streamable_http_client
        from mcp.shared._httpx_utils import create_mcp_http_client

        owner = f"the MCP server {self._name}"
        if self._spec.command:
            env = {key: await self._keys.filled(value, owner) for key, value in self._spec.env.items()}
            assert self._stderr is not None
            with self._children.child() as child:
                child.ends_whole = True
                environment = child.environment({**get_default_environment(), **env})
                async with stdio_server(self._spec.command, environment, self._stderr) as self._process:
                    child.started(self._process.process.pid)
                    async with ClientSession(self._process.read, self._process.write) as session:
                        yield session
        else:
            headers = {key: await self._keys.filled(value, owner) for key, value in self._spec.headers.items()}
            async with create_mcp_http_client(headers=headers) as client:
                client.follow_redirects = False
                async with (
                    streamable_http_client(self._spec.url or "", http_client=client) as streams,
                    ClientSession(streams[0], streams[1]) as session,
                ):
                    yield session

    async def _list(self, session: Any) -> None:
        from mcp.types import PaginatedRequestParams

        cursor: str | None = None
        for _ in range(MOST_PAGES):
            params = PaginatedRequestParams(cursor=cursor) if cursor is not None else None
            listed = (await session.list_tools(params=params)).model_dump(by_alias=True, mode="json")
            for tool in listed["tools"]:
                about = str(tool.get("description") or "")
                self.tools[tool["name"]] = ToolSpec(
                    tool["name"], about, tool.get("inputSchema") or {"type": "object"}
                )
            cursor = listed.get("nextCursor")
            if not cursor:
                return
        raise self._failure("setup", f"lists more than {MOST_PAGES} pages of tools")

    async def _unless_ended(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """The answer to a request. Raises _Ended as soon as the server's process has ended."""
        if self._process is None:
            return await ask()
        ended = self._process.ended
        found: list[Any] = []
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await ended.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            try:
                found.append(await ask())
            except Exception as error:
                with anyio.move_on_after(0.5):  # the connection may be closed before the process is seen to end
                    await ended.wait()
                found.append(error)
            tasks.cancel_scope.cancel()
        if found and not isinstance(found[0], Exception):
            return found[0]
        if ended.is_set():
            raise _Ended
        raise found[0]

    def _failure(self, kind: str, what: str) -> StepError:
        """An error that includes how the server's process ended, and what it wrote to stderr."""
        written = stderr_tail(self._stderr) if self._stderr is not None and self._process is not None else ""
        if self._process is not None and self._process.ended.is_set():
            what += f": it {self._process.ending}"
        last = written.rpartition("\n")[2][:300]
        message = f"the MCP server {self._name} {what}" + (f": {last}" if last else "")
        hide = self._keys.hide
        return StepError(kind, hide(message), detail=hide(f"stderr:\n{written}") if written else "")


class _Ended(Exception):
    """The server's process has ended."""


def _import_package() -> None:
    """Imports the parts of the package `mcp` that are used, which takes a second."""
    try:
        import mcp.client.stdio
        import mcp.client.streamable_http
        import mcp.shared._httpx_utils  # noqa: F401
    except ImportError:
        raise StepError("setup", "tools need the package mcp: pip install 'agentdeck[mcp]'") from None
    for name in LOGGERS:
        _silence(logging.getLogger(name))


def _silence(logger: logging.Logger) -> None:
    """Keep the package's log from the terminal: it contains what servers send wrong, keys included. A logger
    that the program has configured is left alone."""
    if logger.level == logging.NOTSET and not logger.handlers:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False


def _bottom(error: BaseException) -> BaseException:
    """The first exception inside groups of exceptions."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _first(error: BaseException) -> str:
    error = _bottom(error)
    text = str(error).partition("For further information")[0]  # pydantic's, with a link to its documentation
    return f"{type(error).__name__}: {' '.join(text.split())}"[:300]


def _failed(what: str) -> CallResult:
    return {"content": [{"type": "text", "text": what}], "isError": True}


def result_of(result: CallResult) -> ToolResult:
    parts = [_block(block) for block in result.get("content") or ()]
    if not parts and result.get("structuredContent") is not None:
        parts = [json.dumps(result["structuredContent"], ensure_ascii=False)]
    return ToolResult("\n".join(parts), bool(result.get("isError")))


def _block(block: Mapping[str, Data]) -> str:
    """One part of a result: text unchanged, anything else as a line that describes it."""
    match block.get("type"):
        case "text":
            return str(block.get("text") or "")
        case "resource":
            resource = block.get("resource") or {}
            if resource.get("text") is not None:
                return str(resource["text"])
            return f"[resource {resource.get('uri')}{_kind_and_size(resource, 'blob')}]"
        case "resource_link":
            about = block.get("description") or block.get("title") or block.get("name") or ""
            return f"[link to {block.get('uri')}{_kind_and_size(block)}{f': {about}' if about else ''}]"
        case kind:
            return f"[{kind}{_kind_and_size(block, 'data')}]"


def _kind_and_size(block: Mapping[str, Data], data: str = "") -> str:
    parts = [block["mimeType"]] if block.get("mimeType") else []
    if data and isinstance(block.get(data), str):
        parts.append(f"{len(block[data]) * 3 // 4:,} bytes")
    elif isinstance(block.get("size"), int):
        parts.append(f"{block['size']:,} bytes")
    return f" ({', '.join(parts)})" if parts else ""
