"""Tools from real MCP servers, started as programs and reached over HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest

from agentdeck.errors import StepError
from agentdeck.providers import tools
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.tools import LOGGERS, Toolbox, named
from agentdeck.workflow.deck import McpServer, Secret
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(find_spec("mcp") is None, reason="needs mcp")]
ROOT = Path(__file__).resolve().parents[2]
TOKEN = "token-0123456789"


@pytest.fixture
async def toolbox() -> AsyncIterator[Callable[..., Toolbox]]:
    made = []

    def make(**more: McpServer) -> Toolbox:
        env = {"PYTHONPATH": str(ROOT), "TOKEN": "${env.TOKEN}"}
        sums = McpServer((sys.executable, "-m", "tests.providers.sums"), env)
        made.append(Toolbox({"sums": sums, **more}, KeyStore({"TOKEN": TOKEN})))
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
    call = [sys.executable, "-m", "tests.providers.sums", str(port)]
    with subprocess.Popen(call, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        until(lambda: listens(port))
        yield f"http://127.0.0.1:{port}/mcp"
        process.kill()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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
    with pytest.raises(
        StepError, match=r"the MCP server sums disconnected during die: it ended with code 3$"
    ) as caught:
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


def plain(*args: str) -> McpServer:
    return McpServer(
        (sys.executable, "-m", "tests.providers.mcp_plain", *args),
        {"PYTHONPATH": str(ROOT), "TOKEN": "${env.TOKEN}"},
    )


async def test_a_list_of_tools_in_pages_is_read_whole(toolbox: Callable[..., Toolbox]) -> None:
    box = toolbox(plain=plain())
    assert [tool.name for tool in await box.tools(["plain/show", "plain/tool_2_1"])] == [
        "plain__show",
        "plain__tool_2_1",
    ]
    with pytest.raises(StepError, match="has no tool zz; it has show, work, refuse, mumble, leave, tool_1_0"):
        await box.tools(["plain/zz"])
    with pytest.raises(StepError, match="lists more than 100 pages of tools"):
        await toolbox(endless=plain("endless")).tools(["endless/show"])


async def test_what_is_in_an_answer_is_shown(toolbox: Callable[..., Toolbox]) -> None:
    text, wrong = await toolbox(plain=plain()).call("plain/show", {})
    assert not wrong
    assert text.split("\n") == [
        "first",
        "inside a.txt",
        "[resource file:///b.pdf (application/pdf, 300 bytes)]",
        "[link to file:///c.txt (1,234 bytes): the third]",
        "[image (image/png, 3,000 bytes)]",
    ]


async def test_progress_is_passed_on_and_keeps_a_call_alive(
    toolbox: Callable[..., Toolbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    box = toolbox(plain=plain())
    assert await box.call("plain/work", {}, told.append) == ("worked", False)
    assert told == ["1 of 3 part 1 [key]", "2 of 3 part 2 [key]", "3 of 3 part 3 [key]"]
    monkeypatch.setattr(tools, "CALL", 3.0)
    assert (await box.call("plain/work", {"pause": 1.1})).text == "worked"  # 3.3 s in all
    monkeypatch.setattr(tools, "CALL", 0.1)
    assert "more than 0.1 s without progress" in (await box.call("plain/work", {"pause": 1})).text


async def test_secrets_of_the_deck_reach_a_server_and_do_not_come_back(
    toolbox: Callable[..., Toolbox], url: str
) -> None:
    keys = KeyStore({"V": TOKEN}, {"S": Secret(env="V")})
    given = McpServer(plain().command, {"PYTHONPATH": str(ROOT), "TOKEN": "${secret.S}"})
    far = McpServer(url=url, headers={"authorization": "Bearer ${secret.S}"})
    box = Toolbox({"plain": given, "far": far}, keys)
    told: list[str] = []
    await box.call("plain/work", {}, told.append)
    assert told[0] == "1 of 3 part 1 [key]"
    with pytest.raises(StepError) as caught:
        await box.call("plain/leave", {})
    assert TOKEN not in repr(caught.value.fault)
    assert await box.call("far/add", {"a": 2, "b": 3}) == ("5", False)
    await box.close()


async def test_a_refused_call_is_an_answer_and_the_server_goes_on(toolbox: Callable[..., Toolbox]) -> None:
    box = toolbox(plain=plain())
    text, wrong = await box.call("plain/refuse", {})
    assert wrong
    assert "no such argument" in text
    assert (await box.call("plain/work", {})).text == "worked"
    assert len(box._servers) == 1


async def test_an_answer_that_is_none_is_told_to_the_model_and_nothing_is_logged(
    toolbox: Callable[..., Toolbox], caplog: pytest.LogCaptureFixture
) -> None:
    box = toolbox(plain=plain())
    text, wrong = await box.call("plain/mumble", {})
    assert wrong
    assert "the tool's answer cannot be read: ValidationError" in text
    assert (await box.call("plain/work", {})).text == "worked"
    assert len(box._servers) == 1
    assert [record for record in caplog.records if record.name.startswith(LOGGERS)] == []


async def test_tools_that_would_have_one_name_are_refused(toolbox: Callable[..., Toolbox]) -> None:
    with pytest.raises(
        StepError, match=r"plain/tool_1_0 and plain/tool\.1_0 have the same name for models, plain__tool_1_0"
    ):
        await toolbox(plain=plain()).tools(["plain/tool_1_0", "plain/tool.1_0"])


async def test_a_server_that_does_not_start_is_shown_with_its_stderr_at_once(
    toolbox: Callable[..., Toolbox],
) -> None:
    """Its child keeps the pipes open for a minute."""
    with anyio.fail_after(30), pytest.raises(StepError) as caught:
        await toolbox(bad=plain("fail")).tools(["bad/x"])
    fault = caught.value.fault
    assert fault.kind == "setup"
    assert fault.message == "the MCP server bad cannot be used: it ended with code 3: no licence for [key]"
    assert fault.detail.endswith("no licence for [key]")
    assert len(fault.detail) < 5_000


async def test_a_server_that_ends_during_a_call_says_how(toolbox: Callable[..., Toolbox]) -> None:
    with anyio.fail_after(30), pytest.raises(StepError) as caught:
        await toolbox(plain=plain()).call("plain/leave", {})
    assert caught.value.fault.kind == "network"
    assert caught.value.fault.message == (
        "the MCP server plain disconnected during leave: it ended with code 7: disk is full at [key]"
    )


def test_the_package_is_imported_beside_the_loop() -> None:
    """In a process of its own, where nothing has imported it: the loop goes round while it is imported."""
    code = """
import asyncio, sys
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.tools import LOGGERS
from agentdeck.providers.tools import Toolbox
from agentdeck.workflow.deck import McpServer
from agentdeck.errors import StepError

async def main():
    ticks = 0
    async def tick():
        nonlocal ticks
        while "mcp.client.stdio" not in sys.modules:
            await asyncio.sleep(0.001)
            ticks += 1
    ticker = asyncio.create_task(tick())
    box = Toolbox({"bad": McpServer(("false",))}, KeyStore({}))
    try:
        await box.tools(["bad/x"])
    except StepError:
        print(ticks)
    ticker.cancel()

assert "mcp" not in sys.modules
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 10


def test_names_of_tools_are_what_models_take() -> None:
    assert named("files/read.text") == "files__read_text"
    assert len(named("a/" + "b" * 100)) == 64
