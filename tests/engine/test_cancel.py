"""Cancelling a run in which attempts of every verb run: it ends soon, and nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import anyio
import pytest

from agentdeck.engine.launch import Launch, Watch, run
from agentdeck.engine.run_control import RunControl
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.workflow.loader import load
from tests.observing import EventCollector

pytestmark = pytest.mark.anyio

EACH = 200
VERBS = """
agentdeck: 1
name: verbs
inputs: {{ n: integer }}
defaults: {{ retry: 1, timeout: 60s }}
agents:
  command: {{ command: [sleep, "60"] }}
  http: {{ http: {{ url: "http://127.0.0.1:{port}/${{inputs.n}}" }} }}
  simulate: {{ simulate: {{ takes: 60s }} }}
  coroutine: {{ python: "slow_verbs:coroutine" }}
  thread: {{ python: "slow_verbs:thread" }}
"""
SLOW = """
import asyncio, time
begun = set()
async def coroutine(n):
    await asyncio.sleep(60)
def thread(n, ctx):
    begun.add(n)
    while not ctx.cancelled():
        time.sleep(0.05)
"""


def children() -> set[str]:
    """Processes below this one that still run."""
    found = []
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has ended
            found += (thread / "children").read_text().split()
    return {pid for pid in found if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"}


def files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not Path("/proc/self/task").exists():
        pytest.skip("needs /proc")
    (tmp_path / "slow_verbs.py").write_text(SLOW)
    return tmp_path


async def test_cancel_leaves_nothing(place: Path) -> None:
    silent: list[asyncio.StreamWriter] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.append(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    (place / "w.yaml").write_text(VERBS.format(port=server.sockets[0].getsockname()[1]))
    definition = load(place / "w.yaml").definition
    tasks = [{"n": n} for n in range(EACH)]
    control, running = RunControl("ada"), set[tuple[str, str]]()
    before, others = (files(), len(asyncio.all_tasks())), children()

    def seen(event: ev.Event) -> None:
        if isinstance(event, ev.StepStarted):
            running.add((event.task, event.step))

    async def cancel() -> None:
        with anyio.fail_after(60):
            while len(running) < 5 * EACH or len(children() - others) < EACH:  # noqa: ASYNC110
                await anyio.sleep(0.05)
            while len(sys.modules["slow_verbs"].begun) < EACH:  # noqa: ASYNC110
                await anyio.sleep(0.05)
        control.cancel()

    launch = Launch(definition, place, {}, tasks, 5 * EACH, db=place / "a.db")
    async with anyio.create_task_group() as group:
        group.start_soon(cancel)
        outcome = await run(launch, Watch([EventCollector(seen)], control=control))
    assert outcome.state == "cancelled"
    assert outcome.view.steps()["cancelled"] == 5 * EACH
    assert outcome.abandoned == 0
    reader = Reader(place / "a.db")
    marked = [line for line in reader.logs(outcome.run, agent="thread") if line.text.startswith("abandoned")]
    reader.close()
    assert len(marked) == EACH, "who looks later sees which threads were abandoned"
    assert children() <= others
    server.close()
    await anyio.sleep(0.1)
    assert files() <= before[0] + 2, "file handles"
    assert len(asyncio.all_tasks()) <= before[1], [task.get_coro() for task in asyncio.all_tasks()]
