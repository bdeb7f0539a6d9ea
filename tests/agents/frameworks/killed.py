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
    ended = subprocess.run([sys.executable, "-m", __name__, target, str(db)], cwd=ROOT, timeout=60)
    assert ended.returncode == -signal.SIGKILL


async def resumed(target: str, db: Path, answers: Callable[[Question], Any]) -> Result:
    """The result of the run in this process."""
    async with open_store(db) as store:
        (found,) = await store.runs()
    assert found.state == "interrupted"
    async with workflow(target).resume(found.run, db=db, answers=answers) as run:
        return await run.result()


async def _ask_and_die(target: str, db: Path) -> None:
    async with workflow(target).start(db=db) as run:
        async for event in run.events():
            if event.kind == "noted" and await run.questions():
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(_ask_and_die(sys.argv[1], Path(sys.argv[2])))
