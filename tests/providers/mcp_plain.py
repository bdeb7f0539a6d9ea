"""An MCP server written by hand, for what the package's own server does not do: a list of tools in pages,
progress, answers of every kind, faults of the protocol, and ends of all sorts. It speaks lines of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

PAGES = 3
CONTENT = [
    {"type": "text", "text": "first"},
    {"type": "resource", "resource": {"uri": "file:///a.txt", "mimeType": "text/plain", "text": "inside a.txt"}},
    {
        "type": "resource",
        "resource": {"uri": "file:///b.pdf", "mimeType": "application/pdf", "blob": "AAAA" * 100},
    },
    {"type": "resource_link", "uri": "file:///c.txt", "name": "c", "description": "the third", "size": 1234},
    {"type": "image", "data": "AAAA" * 1000, "mimeType": "image/png"},
]


def send(message: dict[str, Any]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def listed(cursor: str | None) -> dict[str, Any]:
    page = int(cursor or 0)
    names = ["show", "work", "refuse", "mumble", "leave"] if page == 0 else [f"tool_{page}_{i}" for i in range(2)]
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
    more = "endless" in sys.argv or page + 1 < PAGES
    return {"tools": tools, **({"nextCursor": str(page + 1)} if more else {})}


def call(params: dict[str, Any]) -> dict[str, Any]:
    match params["name"]:
        case "work":
            token = params.get("_meta", {}).get("progressToken")
            for i in range(1, 4):
                progress = {
                    "progressToken": token,
                    "progress": i,
                    "total": 3,
                    "message": f"part {i} {os.environ.get('TOKEN')}",
                }
                send({"method": "notifications/progress", "params": progress})
                time.sleep(float(params["arguments"].get("pause", 0)))
            return {"content": [{"type": "text", "text": "worked"}]}
        case "mumble":
            token = params.get("_meta", {}).get("progressToken")
            send({"method": "notifications/progress", "params": {"progressToken": token, "progress": "half"}})
            return {"content": "no list"}
        case "leave":
            print("disk is full at", os.environ.get("TOKEN"), file=sys.stderr, flush=True)
            subprocess.Popen(["sleep", "60"])  # keeps the pipes open
            os._exit(7)
    return {"content": CONTENT}


def main() -> None:
    if "fail" in sys.argv:
        print("loading", "x" * 10_000, "\nno licence for", os.environ.get("TOKEN"), file=sys.stderr, flush=True)
        subprocess.Popen(["sleep", "60"])
        sys.exit(3)
    for line in sys.stdin:
        asked = json.loads(line)
        method, params = asked.get("method"), asked.get("params") or {}
        if "id" not in asked:
            continue
        if method == "initialize":
            info = {"name": "plain", "version": "1"}
            result = {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": info,
            }
        elif method == "tools/list":
            result = listed(params.get("cursor"))
        elif params.get("name") == "refuse":
            send({"id": asked["id"], "error": {"code": -32602, "message": "no such argument"}})
            continue
        else:
            result = call(params)
        send({"id": asked["id"], "result": result})


if __name__ == "__main__":
    main()
