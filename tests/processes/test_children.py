"""What an attempt that is broken off leaves, and what one that ends well may leave."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from agentdeck.agents.command import Command
from agentdeck.agents.command_runner import CommandVerb
from agentdeck.agents.verb import AttemptContext, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.processes.children import Child, Children
from agentdeck.processes.identity import is_running, start_of
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.tools import Toolbox
from agentdeck.workflow.deck import McpServer
from agentdeck.workflow.model import Agent, Data, Definition

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc"),
]
ROOT = Path(__file__).resolve().parents[2]
#: Starts a process in a session of its own, which writes its pid to a file.
DAEMON = "setsid sh -c 'echo $$ > daemon.new; mv daemon.new daemon; exec sleep 300'"


async def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "did not come true"
        await anyio.sleep(0.02)


async def run(folder: Path, script: str, children: Children | None = None) -> Data:
    agent = Agent("a", Command(("sh", "-c", script)))
    setting = WorkflowContext(Definition("w", {"a": agent}), folder, anyio.sleep, children=children or Children())
    work = AttemptContext("r1", "t1", "a", 2, agent, {}, {}, lambda *_: None, lambda: None)
    return await CommandVerb(agent, setting).run(work)


async def daemon(folder: Path) -> int:
    await until((folder / "daemon").exists)
    return int((folder / "daemon").read_text())


async def test_what_left_the_group_of_an_attempt_that_is_cancelled_ends_too(tmp_path: Path) -> None:
    """As by a timeout: a retry would start a second one beside it."""
    async with anyio.create_task_group() as group:
        group.start_soon(run, tmp_path, f"{DAEMON} & sleep 300")
        pid = await daemon(tmp_path)
        group.cancel_scope.cancel()
    await until(lambda: not is_running(pid))


async def test_what_left_the_group_of_an_attempt_that_failed_ends_too(tmp_path: Path) -> None:
    with pytest.raises(StepError):
        await run(tmp_path, f"{DAEMON} & until [ -e daemon ]; do sleep 0.02; done; exit 3")
    pid = await daemon(tmp_path)
    await until(lambda: not is_running(pid))


async def test_a_daemon_that_a_command_started_and_that_ended_well_goes_on(tmp_path: Path) -> None:
    await run(tmp_path, f"{DAEMON} > /dev/null 2>&1 & until [ -e daemon ]; do sleep 0.02; done")
    pid = await daemon(tmp_path)
    await run(tmp_path, "sleep 0.1")
    assert is_running(pid)
    os.kill(pid, 9)


async def test_a_command_is_recorded_while_it_runs(tmp_path: Path) -> None:
    recorded: dict[str, Child] = {}
    children = Children(lambda child: recorded.setdefault(child.mark, child), lambda mark: recorded.pop(mark))
    async with anyio.create_task_group() as group:
        group.start_soon(run, tmp_path, "echo $$ > pid; until [ -e go ]; do sleep 0.02; done", children)
        await until(lambda: recorded and (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        (child,) = recorded.values()
        assert child.pid == int((tmp_path / "pid").read_text())
        assert child.start == start_of(child.pid)
        assert (child.task, child.step, child.attempt) == ("t1", "a", 2)
        (tmp_path / "go").touch()
    assert not recorded


async def test_an_mcp_server_that_ignores_its_end_ends_with_its_session(tmp_path: Path) -> None:
    """What it started in a session of its own, too."""
    pytest.importorskip("mcp")
    start = f"{DAEMON} & exec {sys.executable} -m tests.providers.sums"
    server = McpServer(("sh", "-c", f"cd {tmp_path}; {start}"), {"PYTHONPATH": str(ROOT)})
    box = Toolbox({"sums": server}, KeyStore({}))
    assert (await box.call("sums/add", {"a": 2, "b": 3})).text == "5"
    pid = await daemon(tmp_path)
    await box.close()
    await until(lambda: not is_running(pid))


async def test_a_command_that_reads_a_key_leaves_nothing_when_it_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentdeck.providers.keys.PATIENCE", 0.5)
    script = f"cd {tmp_path}; sh -c 'echo $$ > daemon.new; mv daemon.new daemon; sleep 300; :' & wait"
    with pytest.raises(StepError, match="took more than"):
        await KeyStore({}).read({"command": ["sh", "-c", script]}, "p")
    pid = await daemon(tmp_path)
    await until(lambda: not is_running(pid))
