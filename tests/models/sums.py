"""An MCP server with two tools, over stdio."""

from __future__ import annotations

import sys

import anyio
from mcp.server import MCPServer

server = MCPServer("sums")


@server.tool()
def add(a: int, b: int) -> str:
    """The sum of two numbers."""
    print("adding", file=sys.stderr)
    return str(a + b)


@server.tool()
def fail(a: int) -> str:
    """Never works."""
    raise ValueError("no")


if __name__ == "__main__":
    anyio.run(server.run_stdio_async)
