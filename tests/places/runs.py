"""Runs of one agent at a place, as tests look at them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio

from agentdeck import Workflow
from agentdeck.agents.verb import AttemptContext, WorkflowContext
from agentdeck.engine import launch
from agentdeck.engine.log_lines import LogLine
from agentdeck.places.place import Place
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.workflow.model import Data

#: What a deck needs so that an agent can have a key of the gateway.
GATEWAY = (
    "providers: { one: { type: simulated } }\n"
    "models: { big: { provider: one, id: b } }\ntiers: { execution: big }\n"
    "gateway: { models: { default: execution } }\n"
)


class Ran:
    """A run of one agent that has ended: its outcome and its log."""

    def __init__(self, outcome: launch.Outcome, lines: list[LogLine], events: list[ev.Event]) -> None:
        self.outcome, self.events = outcome, events
        self.state = outcome.state
        self.lines = [(line.level, line.text) for line in lines]

    @property
    def output(self) -> Any:
        return next(e.output for e in self.events if isinstance(e, ev.StepSucceeded))

    @property
    def fault(self) -> Any:
        return next(e.fault for e in self.events if isinstance(e, ev.StepFailed))

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


async def run(
    folder: Path,
    place: str,
    function: str,
    tasks: list[dict[str, Data]] | None = None,
    keys: dict[str, Any] | None = None,
    workers: int | None = None,
    **inputs: Data,
) -> Ran:
    """Run a function of `crew.py` at a place `crew`, which the deck describes with these keys."""
    (folder / "deck.yaml").write_text(f"agentdeck: 1\nplaces:\n  crew: {{ {place} }}\n")
    given = inputs or (tasks[0] if tasks else {})
    made = Workflow("crew", inputs=dict.fromkeys(given, "any"))
    usual = {"python": f"crew:{function}", "place": "crew", "retry": 1, "timeout": "30s"}
    made.add("it", **{**usual, **(keys or {})})
    lines: list[LogLine] = []
    db = folder / "runs.db"
    wanted = launch.Launch(made.definition, folder, inputs, tasks, workers, db=db)
    with anyio.fail_after(60):
        outcome = await launch.run(wanted, launch.Watch(line=lines.append))
    with closing(Reader(db)) as reader:
        return Ran(outcome, lines, [event for _, event in reader.events(outcome.run)])


class Under:
    """Attempts of a function under way at a place, without an engine."""

    def __init__(self, folder: Path, place: Place) -> None:
        self._folder, self._place = folder, place
        self.lines: list[str] = []

    async def begin(self, function: str, begun: Path, **inputs: Data) -> asyncio.Task[Data]:
        """The attempt, when its function has made a file."""
        made = Workflow("crew", inputs=dict.fromkeys(inputs, "any"))
        made.add("it", python=f"crew:{function}", place="crew")
        agent = made.definition.agents["it"]
        verb = self._place.prepare(agent, WorkflowContext(made.definition, self._folder, anyio.sleep))
        scope: dict[str, Data] = {"inputs": inputs, "needs": {}}
        work = AttemptContext("r", "1", "it", 1, agent, scope, {}, self._log, lambda: None)
        attempt: asyncio.Task[Any] = asyncio.ensure_future(verb.run(work))
        await until(begun.exists)
        return attempt

    async def end(self, attempt: asyncio.Task[Data], *how: str) -> None:
        """Cancel it; it has to end within two seconds."""
        attempt.cancel(*how)
        await asyncio.wait([attempt], timeout=2)
        assert attempt.cancelled()

    def _log(self, text: str, level: str = "info") -> None:
        self.lines.append(text)


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not holds():  # noqa: ASYNC110 - another process makes it true
            await anyio.sleep(0.02)
