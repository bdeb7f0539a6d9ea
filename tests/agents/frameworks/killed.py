"""A process that is killed while an agent of a framework waits for an answer, and what goes on after it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentdeck import Question, Result, Workflow, open_store

ROOT = Path(__file__).resolve().parents[3]
#: The file into which tools write what they do.
EFFECTS = "AGENTDECK_TEST_EFFECTS"


def note(what: str) -> None:
    """Write a side effect into the file of them."""
    with Path(os.environ[EFFECTS]).open("a") as file:
        file.write(f"{what}\n")


def effects() -> list[str]:
    path = Path(os.environ[EFFECTS])
    return path.read_text().split() if path.exists() else []


def workflow(target: str) -> Workflow:
    """One agent, `review`, that gets one text."""
    made = Workflow("inside", inputs={"text": {"type": "string", "default": "hello"}})
    made.add("review", python=target, retry=1)
    return made


def killed_while_it_asks(target: str, db: Path) -> None:
    """Run an agent in another process, which is killed with SIGKILL once it asks."""
    _killed(target, db)


def killed_after(inner_steps: int, target: str, db: Path) -> None:
    """The same, killed once the end of so many inner steps is recorded."""
    _killed(target, db, str(inner_steps))


def _killed(target: str, db: Path, *more: str) -> None:
    ended = subprocess.run([sys.executable, "-m", __name__, target, str(db), *more], cwd=ROOT, timeout=60)
    assert ended.returncode == -signal.SIGKILL


async def resumed(target: str, db: Path, answers: Callable[[Question], Any]) -> Result:
    """The result of the run in this process."""
    async with open_store(db) as store:
        (found,) = await store.runs()
    assert found.state == "interrupted"
    async with workflow(target).resume(found.run, db=db, answers=answers) as run:
        return await run.result()


async def _run_and_die(target: str, db: Path, after: int = 0) -> None:
    async with workflow(target).start(db=db) as run:
        ended = 0
        async for event in run.events():
            ended += event.kind == "inner_ended"
            asks = event.kind == "noted" and await run.questions()
            if ended >= after if after else asks:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(_run_and_die(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])))
