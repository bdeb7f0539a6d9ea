"""An MCP server with a few tools, over stdio, or over HTTP on the port that is given."""

from __future__ import annotations

import os
import sys

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


@server.tool()
def token() -> str:
    """Tells what it should not."""
    return os.environ.get("TOKEN", "")


@server.tool()
def die() -> str:
    """Takes the server with it."""
    os._exit(3)


def main() -> None:
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")


if __name__ == "__main__":
    main()
