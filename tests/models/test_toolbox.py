"""Tools from real MCP servers, started as programs and reached over HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from agentdeck.errors import StepError
from agentdeck.models.keys import Keys
from agentdeck.models.toolbox import Toolbox, named
from agentdeck.workflow.deck import McpServer

pytest.importorskip("mcp")
pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parents[2]
TOKEN = "token-0123456789"


@pytest.fixture
async def toolbox() -> AsyncIterator[Callable[..., Toolbox]]:
    made = []

    def make(**more: McpServer) -> Toolbox:
        env = {"PYTHONPATH": str(ROOT), "TOKEN": "${env.TOKEN}"}
        sums = McpServer((sys.executable, "-m", "tests.models.sums"), env)
        made.append(Toolbox({"sums": sums, **more}, Keys({"TOKEN": TOKEN})))
        return made[-1]

    yield make
    for box in made:
        await box.close()


@pytest.fixture
def url() -> Iterator[str]:
    """The same server over HTTP."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    call = [sys.executable, "-m", "tests.models.sums", str(port)]
    with subprocess.Popen(call, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
        process.kill()


async def test_a_program_has_tools(toolbox: Callable[..., Toolbox]) -> None:
    box = toolbox()
    (tool,) = await box.tools(["sums/add"])
    assert (tool.name, tool.about) == ("sums__add", "The sum of two numbers.")
    assert set(tool.schema["properties"]) == {"a", "b"}
    assert await box.call("sums/add", {"a": 2, "b": 3}) == ("5", False)
    failed = await box.call("sums/fail", {"a": 1})
    assert failed.wrong
    assert (await box.call("sums/add", {"a": "x"})).wrong
    assert await box.call("sums/token", {}) == ("[key]", False)


async def test_a_url_has_tools(toolbox: Callable[..., Toolbox], url: str) -> None:
    box = toolbox(far=McpServer(url=url, headers={"authorization": "Bearer ${env.TOKEN}"}))
    assert await box.call("far/add", {"a": 2, "b": 3}) == ("5", False)


async def test_a_server_that_died_is_lost_once_and_started_again(toolbox: Callable[..., Toolbox]) -> None:
    box = toolbox()
    with pytest.raises(StepError, match="the MCP server sums was lost at die") as caught:
        await box.call("sums/die", {})
    assert caught.value.fault.kind == "network"
    assert await box.call("sums/add", {"a": 2, "b": 3}) == ("5", False)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (McpServer(("no-such-command-here",)), "setup"),
        (McpServer((sys.executable, "-c", "")), "setup"),
        (McpServer(url="http://127.0.0.1:1/mcp"), "network"),
        (McpServer(("x",), {"KEY": "${env.NOT_SET}"}), "auth"),
    ],
)
async def test_a_server_that_cannot_be_used_says_so(
    toolbox: Callable[..., Toolbox], spec: McpServer, kind: str
) -> None:
    with pytest.raises(StepError, match="the MCP server bad ") as caught:
        await toolbox(bad=spec).tools(["bad/x"])
    assert caught.value.fault.kind == kind


def test_names_of_tools_are_what_models_take() -> None:
    assert named("files/read.text") == "files__read_text"
    assert len(named("a/" + "b" * 100)) == 64
