"""Tools for prompts, from the MCP servers of the deck."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from agentdeck.errors import StepError
from agentdeck.processes.children import Children
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.mcp_server import McpConnection, Progress, ToolResult
from agentdeck.providers.provider import ToolSpec
from agentdeck.workflow.deck import McpServer
from agentdeck.workflow.model import Data

#: The largest part of a tool's answer that the model gets, in characters.
MOST = 100_000


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
                what = f"{called[named(name)]} and {name} are both {named(name)} for models"
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
        result = await found.call(tool, arguments, progress)
        return result._replace(text=self._keys.hide(result.text)[:MOST])

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
