"""Workflows whose agent runs in an interpreter of its own, which has a framework that agentdeck's has not."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentdeck import Question, Result, Workflow, open_store
from agentdeck.workflow.model import Data
from tests.agents.frameworks.killed import ROOT, effects

APART = Path(__file__).with_name("apart")


class OwnInterpreter:
    """Makes the workflows of one interpreter, which `make test-frameworks` builds."""

    def __init__(self, name: str, folder: Path, module: str) -> None:
        self.python = ROOT / ".venv" / name / "bin" / "python"
        if not self.python.exists():
            pytest.skip(f"{self.python} is missing: make test-frameworks")
        self.folder = folder
        self.db = folder / "a.db"
        self._module = module
        shutil.copy(APART / f"{module}.py", folder)
        place = {"type": "process", "python": str(self.python), "env": ["AGENTDECK_TEST_EFFECTS"]}
        (folder / "deck.yaml").write_text(json.dumps({"agentdeck": 1, "places": {"apart": place}}))

    def workflow(self, target: str, **keys: Any) -> Workflow:
        """One agent, `review`, that runs there."""
        agent: dict[str, Data] = {"python": f"{self._module}:{target}", "place": "apart", "retry": 1}
        inputs = {"topic": {"type": "string", "default": "tea"}, "mood": {"type": "string", "default": "kind"}}
        data = {"agentdeck": 1, "name": "apart", "inputs": inputs, "agents": {"review": agent | keys}}
        file = self.folder / f"{target}.yaml"
        file.write_text(json.dumps(data | {"output": "${review}"}))
        return Workflow.from_file(file)

    async def cancelled_within(self, made: Workflow, inner: str) -> None:
        """Cancel a run once an inner step of this name is under way. Its process, of which the agent notes the
        id, is gone afterwards."""
        async with made.start(db=self.db) as run:
            async for event in run.events():
                if event.kind == "inner_started" and event.model_dump()["name"] == inner:
                    await run.cancel()
            assert (await run.result(check=False)).state == "cancelled"
        (pid,) = (line.removeprefix("pid-") for line in effects() if line.startswith("pid-"))
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)

    def killed_while_it_asks(self, target: str) -> None:
        """Run the agent in another process, which is killed with SIGKILL once it asks."""
        self.workflow(target, timeout="90s")
        command = [sys.executable, "-m", __name__, str(self.folder / f"{target}.yaml"), str(self.db)]
        assert subprocess.run(command, cwd=ROOT, timeout=120).returncode == -signal.SIGKILL

    async def resumed(self, target: str, answers: Callable[[Question], Any]) -> Result:
        """The result of the run in this process."""
        async with open_store(self.db) as store:
            (found,) = await store.runs()
        assert found.state == "interrupted"
        made = Workflow.from_file(self.folder / f"{target}.yaml")
        async with made.resume(found.run, db=self.db, answers=answers) as run:
            return await run.result()


async def _ask_and_die(file: str, db: str) -> None:
    async with Workflow.from_file(file).start(db=db) as run:
        async for event in run.events():
            if event.kind == "noted" and await run.questions():
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(_ask_and_die(*sys.argv[1:]))
