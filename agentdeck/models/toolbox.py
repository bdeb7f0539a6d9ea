"""Tools for prompts, from MCP servers of the deck (package `mcp`, an extra)."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio

from agentdeck.errors import StepError
from agentdeck.models.keys import Keys
from agentdeck.models.provider import Tool
from agentdeck.workflow.deck import McpServer
from agentdeck.workflow.model import Data

START = 30.0
CALL = 60.0
#: What of a tool's answer is shown to the model.
MOST = 100_000


class Result(NamedTuple):
    """What a tool answered; `wrong` when the tool says that it failed."""

    text: str
    wrong: bool


class Toolbox:
    """The servers that tools were asked of. Each is started when first asked, and again when it has died."""

    def __init__(self, servers: Mapping[str, McpServer], keys: Keys) -> None:
        self._specs = servers
        self._keys = keys
        self._servers: dict[str, _Server] = {}

    async def tools(self, names: Sequence[str]) -> list[Tool]:
        """The tools behind `server/tool` names, under names that models take (`named`)."""
        found = []
        for name in names:
            server, _, tool = name.partition("/")
            known = (await self._server(server)).tools
            if tool not in known:
                raise StepError("setup", f"the MCP server {server} has no tool {tool}; it has {', '.join(known)}")
            found.append(known[tool]._replace(name=named(name)))
        return found

    async def call(self, name: str, arguments: Mapping[str, Data]) -> Result:
        """Calls `server/tool`. What goes wrong inside the tool is an answer; that there is no server is not."""
        server, _, tool = name.partition("/")
        found = await self._server(server)
        result = await found.call(tool, arguments)
        return result._replace(text=self._keys.hide(result.text)[:MOST])

    async def close(self) -> None:
        servers, self._servers = self._servers, {}
        for server in servers.values():
            await server.close()

    async def _server(self, name: str) -> _Server:
        server = self._servers.get(name)
        if server is None or server.dead:
            if name not in self._specs:
                raise StepError("setup", f"there is no MCP server {name} in the deck")
            lost, server = server, _Server(name, self._specs[name], self._keys)
            self._servers[name] = server
            if lost is not None:
                await lost.close()
        await server.ready()
        return server


class _Server:
    """One session. It lives in a task of its own: what opens a session has to close it."""

    def __init__(self, name: str, spec: McpServer, keys: Keys) -> None:
        self.tools: dict[str, Tool] = {}
        self._name = name
        self._spec = spec
        self._keys = keys
        self._session: Any = None
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
            raise StepError("network", f"the MCP server {self._name} did not start within {START:g} s")

    async def call(self, tool: str, arguments: Mapping[str, Data]) -> Result:
        try:
            with anyio.fail_after(CALL):
                result = await self._session.call_tool(tool, dict(arguments))
        except TimeoutError:
            return Result(f"the tool took more than {CALL:g} s", True)
        except Exception as error:
            self._stop.set()
            what = self._keys.hide(f"the MCP server {self._name} was lost at {tool}: {_first(error)}")
            raise StepError("network", what) from None
        return _result(result.model_dump(by_alias=True, mode="json"))

    async def close(self) -> None:
        self._stop.set()
        await asyncio.wait([self._task], timeout=5)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1)

    async def _live(self) -> None:
        try:
            async with _session(self._name, self._spec, self._keys) as session:
                with anyio.fail_after(START):
                    await session.initialize()
                    await self._list(session)
                self._session = session
                self._up.set()
                await self._stop.wait()
        except StepError as error:
            self._fault = error
        except Exception as error:
            what = self._keys.hide(f"the MCP server {self._name} cannot be used: {_first(error)}")
            self._fault = StepError("setup" if self._spec.command else "network", what)
        finally:
            self._up.set()

    async def _list(self, session: Any) -> None:
        listed = (await session.list_tools()).model_dump(by_alias=True, mode="json")
        for tool in listed["tools"]:
            about = str(tool.get("description") or "")
            self.tools[tool["name"]] = Tool(tool["name"], about, tool.get("inputSchema") or {"type": "object"})


def named(name: str) -> str:
    """`server/tool` as models take names of tools."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name.replace("/", "__"))[:64]


@asynccontextmanager
async def _session(name: str, spec: McpServer, keys: Keys) -> AsyncIterator[Any]:
    """An open session, not yet greeted. What a server prints besides goes nowhere near the terminal."""
    try:
        from mcp import ClientSession
        from mcp.client.stdio import StdioServerParameters, stdio_client
        from mcp.client.streamable_http import streamable_http_client
        from mcp.shared._httpx_utils import create_mcp_http_client
    except ImportError:
        raise StepError("setup", "tools need the package mcp: pip install 'agentdeck[mcp]'") from None
    env = {key: keys.text(value, f"the MCP server {name}") for key, value in spec.env.items()}
    headers = {key: keys.text(value, f"the MCP server {name}") for key, value in spec.headers.items()}
    if spec.command:
        program, *args = spec.command
        with tempfile.TemporaryFile("w") as nowhere:
            params = StdioServerParameters(command=program, args=args, env=env)
            async with (
                stdio_client(params, errlog=nowhere) as (read, write),
                ClientSession(read, write) as session,
            ):
                yield session
    else:
        async with create_mcp_http_client(headers=headers) as client:
            client.follow_redirects = False
            async with (
                streamable_http_client(spec.url or "", http_client=client) as streams,
                ClientSession(streams[0], streams[1]) as session,
            ):
                yield session


def _result(result: Mapping[str, Data]) -> Result:
    parts = []
    for block in result.get("content") or ():
        text = block.get("text") if block.get("type") == "text" else None
        parts.append(text if text is not None else f"[{block.get('type')}]")
    if not parts and result.get("structuredContent") is not None:
        parts = [json.dumps(result["structuredContent"], ensure_ascii=False)]
    return Result("\n".join(parts), bool(result.get("isError")))


def _first(error: BaseException) -> str:
    """What is at the bottom of groups of exceptions."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"[:300]
