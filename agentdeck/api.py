"""Workflows written in Python: the same value as from YAML, made by decorating functions."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from agentdeck.errors import AgentdeckError
from agentdeck.workflow.model import Data, Definition

if TYPE_CHECKING:
    from agentdeck.documents.run import AgentSummary
    from agentdeck.engine.observers import EventBatch

Function = TypeVar("Function")


@dataclass(frozen=True, slots=True)
class StepResult:
    """How one agent did in a run of one task, or over all tasks of a run of many."""

    state: str
    seconds: float | None
    output: Data = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What a run gave. `output` is that of its only task; `summary` is what `run --json` prints."""

    run: str
    state: str
    output: Data
    steps: Mapping[str, StepResult] = field(repr=False)
    summary: Mapping[str, Data] = field(repr=False)


class RunFailed(AgentdeckError):
    """A run did not end well. `result` has everything that was reached."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


class RunBlocked(RunFailed):
    """A run stopped, as nothing could go on in it until an operator acts: a provider refuses the key, the budget
    is used up, a step asks for approval. Where it has a store, it can be resumed."""


class Workflow:
    """A workflow written in Python.

    The needs of an agent are the parameters of its function that name other agents; its other parameters are
    inputs. `definition` is the same value that a YAML file loads into.
    """

    def __init__(self, name: str, **settings: Data) -> None:
        """`settings` are the file's own keys: about, inputs, limits, defaults, output, budget."""
        self.name = name
        self.functions: dict[str, Callable[..., Any]] = {}
        self._settings = settings
        self._agents: dict[str, dict[str, Data]] = {}
        self._definition: Definition | None = None
        self._folder = Path(inspect.stack()[1].filename).resolve().parent

    @overload
    def agent(self, function: Function, /, *, name: str | None = None, **settings: Data) -> Function: ...

    @overload
    def agent(self, /, *, name: str | None = None, **settings: Data) -> Callable[[Function], Function]: ...

    def agent(self, function: Any = None, /, *, name: str | None = None, **settings: Data) -> Any:
        """Make a function, or an object of a known framework, an agent. `settings` are the file's own keys:
        `timeout="10s"`, `retry=5`. An object without a name of its own is named after its type."""

        def add(function: Function) -> Function:
            called = name or _name_of(function)
            if called in self._agents:
                raise ValueError(f"{self.name} has an agent {called} already; give this one a name=")
            module = getattr(function, "__module__", None) or type(function).__module__
            target = f"{module}:{getattr(function, '__qualname__', called)}"
            self.add(called, **{"python": target, **settings})
            self.functions[called] = cast("Callable[..., Any]", function)
            return function

        return add if function is None else add(function)

    def add(self, name: str, **settings: Data) -> None:
        """Add an agent of any verb: `order.add("notify", command=["mail", "…"], needs="confirm")`."""
        if name in self._agents:
            raise ValueError(f"{self.name} has an agent {name} already")
        self._agents[name] = {("with" if key == "with_" else key): value for key, value in settings.items()}
        self._definition = None

    @property
    def definition(self) -> Definition:
        """The value. Reading it checks the workflow whole; raises InvalidFile with every fault."""
        if self._definition is None:
            from agentdeck.workflow.loader import define

            self._definition = define(self.name, self._settings, self._agents, self.functions, self._folder)
        return self._definition

    async def run(
        self,
        *,
        workers: int | None = None,
        db: str | Path | None = None,
        tasks: Iterable[Mapping[str, Data]] | None = None,
        check: bool = True,
        wait: bool = False,
        **inputs: Data,
    ) -> Result:
        """Run it in the caller's loop. Keyword arguments are its inputs. Raises RunFailed when it did not end
        well and `check` is true: RunBlocked where it could not go on until an operator acts. With `wait` it waits
        for the operator instead, who answers from another process (`agentdeck approve`, `agentdeck budget`)."""
        from agentdeck.command_hint import with_db
        from agentdeck.documents.document import json_text
        from agentdeck.engine.launch import Launch, Watch, run
        from agentdeck.engine.stalled import stopped
        from agentdeck.insight.summary import summary

        definition = self.definition
        outputs = _Outputs()
        launch = Launch(
            definition,
            definition.folder or self._folder,
            inputs,
            tasks,
            workers,
            self.functions,
            Path(db) if db is not None else None,
            wait=wait,
        )
        outcome = await run(launch, Watch([outputs]) if tasks is None else None)
        document = summary(outcome.view, definition)
        agents = ((name, document.agents[name]) for name in definition.agents)
        steps = {
            name: StepResult(_state(agent), agent.p50, outputs.by_step.get(name), agent.attempts)
            for name, agent in agents
        }
        result = Result(outcome.run, outcome.state, document.output, steps, json.loads(json_text(document)))
        if check and outcome.causes:
            why = stopped(outcome.run, outcome.causes, resumable=db is not None)
            remedy = with_db(why, str(db) if db is not None else "")
            raise RunBlocked(f"{self.name}: run {outcome.run} {remedy}", result)
        if check and outcome.state != "done":
            raise RunFailed(f"{self.name}: run {outcome.run} ended {outcome.state}", result)
        return result


class _Outputs:
    """Observer: the outputs of the only task's steps."""

    def __init__(self) -> None:
        self.by_step: dict[str, Data] = {}

    def observe(self, batch: EventBatch) -> None:
        from agentdeck.scheduler.events import StepSucceeded

        for event in batch.events:
            if isinstance(event, StepSucceeded) and event.task == "1":
                self.by_step[event.step] = event.output

    def close(self) -> None:
        """Nothing to release."""


def _name_of(function: Any) -> str:
    """The name of a function, of what a partial calls, or of an object's type, as `review_crew`."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None)
    return (
        name if isinstance(name, str) else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(function).__name__).lower()
    )


def _state(agent: AgentSummary) -> str:
    return "failed" if agent.failed else "done" if agent.done else "skipped"
