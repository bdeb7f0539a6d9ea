"""The question what becomes of the runs that were started here, when the console is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path

from agentdeck.console.screens.dialogs import Choice, Confirm
from agentdeck.errors import AgentdeckError
from agentdeck.operations.engine_process import EngineProcess
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.reader import Reader

LOOK = 0.5  # seconds between two looks at the runs
PATIENCE = 1.0  # seconds that a look may take: then they count as executing
EXECUTING = [
    Choice("keep", "k", "Keep running in the background", "open them again at any time"),
    Choice("drain", "d", "Drain", "running steps finish; the runs can be resumed"),
    Choice("cancel", "x", "Cancel", "stop everything; the runs cannot be resumed", danger=True),
    Choice("", "s", "Stay here"),
]
ENDED = [Choice("keep", "k", "Close the console"), Choice("", "s", "Stay here")]


async def executing_runs(db: Path, engines: Collection[EngineProcess]) -> list[str]:
    """The runs that these processes execute, or are about to: a run may be over while its process is still
    closing. Where the store cannot be read, the runs of all processes that have not ended."""
    alive = [engine for engine in engines if engine.ended is None]
    if not alive:
        return []
    over: set[str] = set()
    try:
        async with asyncio.timeout(PATIENCE), AsyncReader(db) as store:
            over = await store.read(_over, alive)
    except (AgentdeckError, TimeoutError):
        pass
    return [engine.run for engine in alive if engine.run not in over]


def _over(reader: Reader, engines: Sequence[EngineProcess]) -> set[str]:
    """The runs that have ended since their process was started: a retry begins with a run that had ended."""
    ended = {engine.run: (reader.ended_at(engine.run), engine.started) for engine in engines}
    return {run for run, (at, started) in ended.items() if at is not None and at >= started}


class QuitQuestion(Confirm):
    """Answers with what becomes of `runs`: `keep`, `drain` or `cancel`. It follows the processes that execute
    them; once no run executes it says so, and there is nothing to decide but whether to close."""

    def __init__(self, db: Path, engines: Collection[EngineProcess], runs: Sequence[str]) -> None:
        super().__init__("Close the console?", [_line(runs)], EXECUTING)
        self.runs = list(runs)
        self._db, self._engines = db, engines

    def on_mount(self) -> None:
        self.run_worker(self._follow(), name="runs that execute")

    async def _follow(self) -> None:
        while self.runs:
            await asyncio.sleep(LOOK)
            runs = await executing_runs(self._db, self._engines)
            if runs != self.runs:
                first, self.runs = self.runs[0], runs
                self.change([_line(runs, first)], EXECUTING if runs else ENDED)


def _line(runs: Sequence[str], ended: str = "") -> str:
    if not runs:
        return f"{ended} has ended: no run executes any more."
    many = f"{len(runs)} runs are executing" if len(runs) > 1 else f"{runs[0]} is executing"
    return f"{many} in the background."
