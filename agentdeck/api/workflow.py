"""Workflows written in Python: the same value as from YAML, made by decorating functions."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from agentdeck.api.arguments import checked
from agentdeck.workflow.model import Data, Definition

if TYPE_CHECKING:  # the engine is imported when a run starts: `agentdeck check` does without it
    from agentdeck.api.answering import Answers
    from agentdeck.api.execution import RunOptions
    from agentdeck.api.run import Run
    from agentdeck.api.start import Start
    from agentdeck.documents.result import Result
    from agentdeck.engine.observers import Observer

Function = TypeVar("Function")


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
        self._file: Path | None = None
        self._folder = Path(inspect.stack()[1].filename).resolve().parent

    @classmethod
    def from_file(cls, file: str | Path) -> Workflow:
        """The workflow in a file, YAML or Python, to be run here: `Workflow.from_file("order.yaml")`. No agents
        can be added to it. Raises InvalidFile with every fault."""
        from agentdeck.operations.launch import load_workflow

        path = Path(file)
        loaded = load_workflow(path)
        made = cls(loaded.definition.name)
        made._definition, made._file, made._folder = loaded.definition, path, path.resolve().parent
        made.functions = dict(loaded.functions)
        return made

    @overload
    def agent(self, function: Function, /, *, name: str | None = None, **settings: Data) -> Function: ...

    @overload
    def agent(self, /, *, name: str | None = None, **settings: Data) -> Callable[[Function], Function]: ...

    def agent(self, function: Any = None, /, *, name: str | None = None, **settings: Data) -> Any:
        """Make a function, another callable or an object of a known framework an agent. `settings` are the file's
        own keys: `timeout="10s"`, `retry=5`. An object without a name of its own is named after its type. Raises
        TypeError for an object that cannot be called."""

        def add(function: Function) -> Function:
            called = name or _name_of(function)
            if called in self._agents:
                raise ValueError(f"{self.name} has an agent {called} already; give this one a name=")
            module = getattr(function, "__module__", None) or type(function).__module__
            target = f"{module}:{getattr(function, '__qualname__', called)}"
            if not callable(function):
                from agentdeck.agents.frameworks.known import framework_of

                framework_of(function)  # raises TypeError where no agent could call the object
            self.add(called, **{"python": target, **settings})
            self.functions[called] = cast("Callable[..., Any]", function)
            return function

        return add if function is None else add(function)

    def add(self, name: str, **settings: Data) -> None:
        """Add an agent of any verb: `order.add("notify", command=["mail", "…"], needs="confirm")`."""
        if self._file is not None:
            raise ValueError(f"{self.name} was loaded from {self._file}: add the agent {name} there")
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

    @checked()
    def start(
        self,
        given: Mapping[str, Data] | None = None,
        /,
        *,
        db: str | Path | None = None,
        tasks: Iterable[Mapping[str, Data]] | None = None,
        workers: int | None = None,
        wait: bool = False,
        answers: Answers | None = None,
        keep: int = 1000,
        tags: Iterable[str] = (),
        observers: Iterable[Observer] = (),
        **inputs: Data,
    ) -> Start:
        """Start a run in the caller's event loop, and return its handle, a `Run`:

            async with order.start(text="2 x KB-87", db="orders.db") as run:
                async for task in run.results():
                    print(task.task, task.state, task.output)

        At the end of the block the run is waited for; where the block is left by an exception, it is stopped.
        `run = await order.start(…)` starts it without a block: then `await run.result()` waits for it.

        The arguments are those of `run`, which explains them. Raises UsageError for inputs that the workflow does
        not have or that are missing, InvalidFile for a workflow that has mistakes, StoreError for a store that
        cannot be used.
        """
        from agentdeck.api.execution import RunOptions
        from agentdeck.api.start import Start

        options = RunOptions(wait, answers, keep, tuple(tags), tuple(observers))
        return Start(partial(self._start, {**(given or {}), **inputs}, db, tasks, workers, options))

    @checked()
    async def run(
        self,
        given: Mapping[str, Data] | None = None,
        /,
        *,
        db: str | Path | None = None,
        tasks: Iterable[Mapping[str, Data]] | None = None,
        workers: int | None = None,
        check: bool = True,
        wait: bool = False,
        answers: Answers | None = None,
        keep: int = 1000,
        tags: Iterable[str] = (),
        observers: Iterable[Observer] = (),
        **inputs: Data,
    ) -> Result:
        """Run the workflow in the caller's event loop, and return its result:

            result = await order.run(text="2 x KB-87")
            print(result.output, result.steps["payment"].seconds)

        `inputs` are the workflow's inputs by name; one that is called as an argument below can be given in the
        map `given`.

        - `db`: the file of a store, in which everything is recorded. Without it nothing is kept on disk, and the
          run can be neither resumed nor retried.
        - `tasks`: many tasks, each a map of inputs, which override those of the run. They are taken only when
          there is room for them.
        - `workers`: how many steps run at once.
        - `check`: raise RunFailed where the run did not end well, and RunBlocked where it stopped, as nothing
          could go on until an operator acts. Without it the result says so.
        - `answers`: answers questions, such as approvals. It gets a `Question`, and returns True, False, a map of
          the values of its fields (which approves), or None for a question that is not its own. It may be async;
          a plain function is called in a thread, so it may block.
        - `wait`: wait for answers from elsewhere, such as `agentdeck approve`, instead of RunBlocked.
        - `keep`: without a store, how many results of tasks `result.tasks()` has: those that ended last.
        - `tags`: words by which the run is found again in its store.
        - `observers`: receive the committed events in batches, each in a thread of its own, and are closed at
          its end (docs/plugins.md).

        Cancelling this stops the run; with a store it can be resumed.
        """
        start = self.start(
            given,
            db=db,
            tasks=tasks,
            workers=workers,
            wait=wait,
            answers=answers,
            keep=keep,
            tags=tags,
            observers=observers,
            **inputs,
        )
        async with start as run:
            return await run.result(check=check)

    @checked()
    def resume(
        self,
        run: str,
        *,
        db: str | Path,
        wait: bool = False,
        answers: Answers | None = None,
        accept_changes: bool = False,
    ) -> Start:
        """Go on with a run of this workflow that was interrupted or drained, and return its handle, as `start`
        does. `accept_changes`: also where files that it depends on have changed."""
        from agentdeck.api.execution import RunOptions
        from agentdeck.api.run import Run
        from agentdeck.api.start import Start

        async def begin() -> Run:
            handle = Run(run, Path(db), RunOptions(wait, answers), self.functions)
            await handle.resume(accept_changes=accept_changes)
            return handle

        return Start(begin)

    async def _start(
        self,
        inputs: Mapping[str, Data],
        db: str | Path | None,
        tasks: Iterable[Mapping[str, Data]] | None,
        workers: int | None,
        options: RunOptions,
    ) -> Run:
        from agentdeck.api.run import Run
        from agentdeck.engine.launch import run as execute
        from agentdeck.operations.launch import prepare_workflow

        launch = prepare_workflow(
            self.definition,
            self._folder,
            self.functions,
            inputs,
            tasks=tasks,
            workers=workers,
            db=None if db is None else Path(db),
            wait=options.wait,
            tags=options.tags,
            file=self._file,
        )
        run = Run(launch.run, launch.db, options, self.functions)
        await run._begin(partial(execute, launch))
        return run


def _name_of(function: Any) -> str:
    """The name of a function, of what a partial calls, or of an object's type, as `review_crew`."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None)
    return (
        name if isinstance(name, str) else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(function).__name__).lower()
    )
