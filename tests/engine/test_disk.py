"""Runs on a real disk: what is recorded, and what is left after kill -9."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import anyio
import pytest

from agentdeck import RunFailed, Workflow
from agentdeck.agents.python import Python
from agentdeck.engine.launch import Launch, Watch, run
from agentdeck.engine.resume import Resume, resume
from agentdeck.errors import StoreError, UsageError
from agentdeck.processes.identity import is_running
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Agent, Definition
from tests.observing import EventCollector
from tests.waiting import until

pytestmark = pytest.mark.anyio

CHAIN = """
agentdeck: 1
name: work
inputs: { n: integer }
defaults: { retry: { attempts: 9, delay: 10ms } }
agents:
  a: { simulate: { takes: 10ms, jitter: 50%, returns: "${inputs.n + 1}" } }
  b: { simulate: { takes: 20ms, fails: 20%, returns: "${a * 2}" } }
  c: { simulate: { takes: 10ms, returns: "${a * 3}" } }
  d: { command: [sh, -c, 'echo "$1" >> effects; echo "$1"', sh, "${b + c}"] }
"""


async def test_the_store_holds_what_was_watched_in_the_same_order(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(CHAIN)
    seen = EventCollector()
    launch = Launch(load(tmp_path / "w.yaml").definition, tmp_path, {"n": 1}, db=tmp_path / "a.db")
    outcome = await run(launch, Watch([seen]))
    assert outcome.state == "done"
    reader = Reader(tmp_path / "a.db")
    assert list(reader.events(outcome.run)) == seen.numbered
    row = reader.run("last")
    assert (row.state, row.tasks.done) == ("done", 1)
    assert outcome.view.output == 10
    reader.close()


async def test_stores_that_cannot_be_used_say_so(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(CHAIN)
    definition = load(tmp_path / "w.yaml").definition
    (tmp_path / "bad.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(StoreError, match=r"bad\.db"):
        await run(Launch(definition, tmp_path, {"n": 1}, db=tmp_path / "bad.db"))
    with pytest.raises(StoreError):
        await run(Launch(definition, tmp_path, {"n": 1}, db=Path("/proc/none.db")))


def interrupted(tmp_path: Path, seconds: float) -> str:
    """Kill a run of forty tasks after so long; its name."""
    (tmp_path / "w.yaml").write_text(CHAIN)
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(40)))
    call = [sys.executable, "-m", "agentdeck.cli.main", "run", "w.yaml", "--tasks", "t.jsonl", "--workers", "4",
            "--db", "k.db", "--json"]  # fmt: skip
    process = subprocess.Popen(call, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    reader = Reader(tmp_path / "k.db")
    until(lambda: any(reader.last_seq(row.run) > 5 for row in reader.runs(limit=1)))
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return reader.runs(limit=1)[0].run


@pytest.mark.parametrize("seed", range(4))
async def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, seed: int) -> None:
    name = interrupted(tmp_path, random.Random(seed).uniform(0.0, 0.4))
    reader = Reader(tmp_path / "k.db")
    if reader.run(name).state == "done":
        pytest.skip("it was done before it could be killed")
    assert reader.run(name).state == "interrupted"
    before = {(e.task, e.step): e.output for _, e in reader.events(name) if isinstance(e, ev.StepSucceeded)}

    def tasks(row: object) -> list[dict[str, int]]:
        return [{"n": n} for n in range(40)]

    outcome = await resume(Resume(name, tmp_path / "k.db", tasks=tasks))
    assert outcome.state == "done"
    assert outcome.view.tasks.done == 40
    succeeded = [e for _, e in reader.events(name) if isinstance(e, ev.StepSucceeded)]
    assert len(succeeded) == len({(e.task, e.step) for e in succeeded}) == 160, "no recorded result is made again"
    for key, output in before.items():
        assert next(e.output for e in succeeded if (e.task, e.step) == key) == output
    outputs = {e.task: e.output for _, e in reader.events(name) if isinstance(e, ev.TaskEnded)}
    assert outputs == {str(n + 1): (n + 1) * 5 for n in range(40)}
    assert sqlite3.connect(tmp_path / "k.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_run_whose_store_was_removed_ends_and_says_so(tmp_path: Path) -> None:
    text = "agentdeck: 1\nname: slow\nagents:\n  a: { simulate: { takes: 300s } }\n"
    (tmp_path / "slow.yaml").write_text(text)

    def seen(event: ev.Event) -> None:
        if isinstance(event, ev.StepStarted):
            for file in tmp_path.glob("k.db*"):
                file.unlink()

    launch = Launch(load(tmp_path / "slow.yaml").definition, tmp_path, db=tmp_path / "k.db")
    with pytest.raises(StoreError, match="was removed or replaced while the run executed"):
        await run(launch, Watch([EventCollector(seen)]))


async def test_of_two_that_resume_one_wins(tmp_path: Path) -> None:
    name = interrupted(tmp_path, 0.05)
    won: list[str] = []
    lost: list[str] = []

    async def one() -> None:
        try:
            won.append(
                (
                    await resume(Resume(name, tmp_path / "k.db", tasks=lambda row: ({"n": n} for n in range(40))))
                ).state
            )
        except UsageError as error:
            lost.append(str(error))

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        group.start_soon(one)
    assert won == ["done"]
    assert len(lost) == 1
    assert f"process {os.getpid()} on " in lost[0]


async def test_python_agents_end_themselves_and_never_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    bad = Workflow("bad", defaults={"retry": 1})

    @bad.agent
    async def interrupts() -> None:
        raise KeyboardInterrupt

    @bad.agent
    def exits() -> None:
        print("never on the terminal")
        raise SystemExit(3)

    @bad.agent
    def thing() -> object:
        return object()

    @bad.agent(timeout="50ms")
    async def ignores() -> None:
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            with contextlib.suppress(BaseException):
                await anyio.sleep(1)

    @bad.agent
    def good() -> int:
        print("neither this")
        return 1

    with pytest.raises(RunFailed) as caught:
        await bad.run()
    steps = caught.value.result.steps
    assert {name: step.state for name, step in steps.items()} == {
        "interrupts": "failed", "exits": "failed", "thing": "failed", "ignores": "failed", "good": "done",
    }  # fmt: skip
    assert capfd.readouterr().out == ""


def test_an_agent_that_never_gives_up_does_not_hold_the_process(tmp_path: Path) -> None:
    (tmp_path / "w.py").write_text(
        textwrap.dedent("""
            import asyncio
            async def ignores():
                while True:
                    try: await asyncio.sleep(100)
                    except asyncio.CancelledError: pass
        """)
    )
    (tmp_path / "w.yaml").write_text(
        "agentdeck: 1\nname: w\nagents: { a: { python: 'w:ignores', timeout: 100ms, retry: 1 } }\n"
    )
    call = [sys.executable, "-m", "agentdeck.cli.main", "run", "w.yaml", "--db", "k.db", "--json"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert json.loads(done.stdout)["agents"]["a"]["failed"] == 1


async def test_a_cached_result_is_not_made_again_until_its_inputs_change(tmp_path: Path) -> None:
    made: list[int] = []

    def work(n: int) -> dict[str, int]:
        made.append(n)
        return {"n": n}

    definition = Definition("w", {"a": Agent("a", Python("a"), cache=60.0)})
    for n in (1, 1, 2):
        launch = Launch(definition, tmp_path, {"n": n}, None, 2, {"a": work}, tmp_path / "deck.db")
        outcome = await run(launch)
        assert outcome.view.output == {"n": n}
    assert made == [1, 2]


def test_a_zombie_owns_no_run(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(process.pid)
    process.wait()
    assert not is_running(process.pid)
    assert is_running(os.getpid())
