"""What runs in the tasks of a DAG that `agentdeck export airflow` has made.

Each task runs one step of the workflow as a run of its own (`operations/single_step.py`): how the steps before
it ended comes from the states of their tasks and from XCom, and agentdeck decides whether the step runs, and runs
it. Airflow is told how it ended: skipped, failed for good, or failed and worth another try.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from agentdeck.errors import AgentdeckError, Fault
from agentdeck.exporting.task_ids import ANSWER, INPUTS, ITEM, NUMBERS, result_task
from agentdeck.workflow.model import Approve, Data, Definition, SubWorkflow

if TYPE_CHECKING:
    from agentdeck.engine.log_lines import LogLine
    from agentdeck.operations.single_step import Ended, Recording, SingleStep
    from agentdeck.views.task_outcome import StepOutcome
    from agentdeck.workflow.loader import Loaded

T = TypeVar("T")

#: XCom key of why a task failed.
ERROR = "error"
#: The only key of a value that is passed on as JSON text. Airflow takes some maps for objects of its own.
AS_JSON = "agentdeck as JSON"
LOG = logging.getLogger(__name__)
STATES = {"success": "done", "skipped": "skipped", "failed": "failed", "upstream_failed": "failed"}
CHARACTERS_OF_IDENTITY = 16


class ExportedWorkflow:
    """A workflow whose agents are tasks of a DAG. `identity` is how the identity of the workflow began when the
    DAG was made. Agents are named by their path: `review`, and `review/security` in a sub-workflow.

    The methods are called in tasks. They raise AirflowSkipException for a step that is skipped,
    AirflowFailException for one that failed for good, and AgentdeckError for one that is worth another try.
    """

    def __init__(self, file: Path, identity: str) -> None:
        self.file = file
        self.identity = identity

    def run(self, agent: str) -> Data:
        """Run the step of an agent; returns its result."""
        return _as_xcom(self._level(agent).run(_Task(), _name(agent)))

    def numbers(self, agent: str) -> list[list[int]]:
        """The number of each item of an agent with `each`, as the arguments of `run_item`."""
        level, name = self._level(agent), _name(agent)
        each = level.definition.agents[name].each
        items = level.value(_Task(), name, f"${{{each}}}")
        if items is not None and not isinstance(items, list):
            _fail(_Task(), f"each: {each} is {type(items).__name__}, not a list")
        return [[number] for number in range(len(items or ()))]

    def run_item(self, number: int, agent: str) -> Data:
        """Run the step of one item; returns its result."""
        task, level, name = _Task(), self._level(agent), _name(agent)
        size = len(task.result(f"{level.group}{name}.{NUMBERS}") or ())
        return _as_xcom(level.run(task, name, number, size))

    def results(self, agent: str) -> Data:
        """The results of all items, in their order."""
        task, level, name = _Task(), self._level(agent), _name(agent)
        group = f"{level.group}{name}"
        _go_on_after(task, f"{group}.{NUMBERS}")
        size = len(task.result(f"{group}.{NUMBERS}") or ())
        states = [task.states(f"{group}.{ITEM}").get(f"{group}.{ITEM}_{number}") for number in range(size)]
        bad = sum(state not in ("success", "skipped") for state in states)
        if bad and level.definition.agents[name].on_error.action != "continue":
            _fail(task, f"{bad} of {size} items failed")
        done = (state == "success" for state in states)
        found = [task.result(f"{group}.{ITEM}", number) if ok else None for number, ok in enumerate(done)]
        return _as_xcom(found)

    def inputs(self, agent: str) -> Data:
        """The inputs of a sub-workflow: what its agent passes on, and the defaults of the others."""
        from agentdeck.engine.task_source import complete

        task, level, name = _Task(), self._level(agent), _name(agent)
        below = self._level(f"{agent}/")
        given = level.value(task, name, dict(level.definition.agents[name].with_))
        try:
            return _as_xcom(complete(below.definition, given or {}))
        except AgentdeckError as error:
            _fail(task, str(error))

    def output(self, path: str = "") -> Data:
        """The output of the workflow, or of the sub-workflow of an agent. Fails where the workflow fails."""
        task, level = _Task(), self._level(f"{path}/" if path else "")
        if path:
            _go_on_after(task, f"{level.group}{INPUTS}")
        ended = level.end(task)
        if ended.state != "done":
            cause = ended.cause
            _fail(task, f"{cause.step}: {cause.fault.message}" if cause is not None else f"it was {ended.state}")
        return _as_xcom(ended.output)

    def question(self, agent: str) -> Data:
        """What an approval asks, and shows with it as Markdown."""
        level, name = self._level(agent), _name(agent)
        does = level.definition.agents[name].does
        assert isinstance(does, Approve)
        asked = level.value(_Task(), name, {"ask": does.ask, "show": does.show})
        shown = asked["show"]
        text = shown if isinstance(shown, str) else json.dumps(shown, indent=2, ensure_ascii=False)
        # An indented block is shown as it is: what an agent said is no markup.
        block = "" if shown is None else "\n".join(f"    {line}" for line in text.splitlines())
        return {"ask": str(asked["ask"]), "show": block}

    def decision(self, agent: str) -> Data:
        """The result of an approval, made from the answer that was given in Airflow. Fails where the answer does
        not fit the fields; without an answer in time, they have their defaults."""
        from agentdeck.scheduler.approvals import complete, refusal

        task, level, name = _Task(), self._level(agent), _name(agent)
        does = level.definition.agents[name].does
        assert isinstance(does, Approve)
        answer = task.result(f"{level.group}{name}.{ANSWER}")
        given: Mapping[str, Data] = {}
        if answer["responded_by_user"] is not None:
            values = answer["params_input"].items()
            given = {key: value for key, value in values if key in does.fields and value is not None}
            if why := refusal(name, does, given):
                _fail(task, f"{why}; to be asked again, clear the tasks of {level.group}{name}")
        approved = {"approved": answer["chosen_options"] == ["Approve"]}
        return _as_xcom({**approved, **complete(does, given).fields, **approved})

    @cached_property
    def _loaded(self) -> Loaded:
        from agentdeck.operations.launch import load_workflow

        try:
            loaded = load_workflow(self.file)
        except AgentdeckError as error:
            raise _permanent(str(error)) from None
        if loaded.definition.identity[:CHARACTERS_OF_IDENTITY] != self.identity:
            raise _permanent(
                f"{self.file} has changed since this DAG was made of it; make it again: agentdeck export airflow"
            )
        return loaded

    def _level(self, path: str) -> _Level:
        """The workflow with the agent at a path; with a slash at its end, the sub-workflow of that agent."""
        from agentdeck.workflow.loader import load

        loaded, group = self._loaded, ""
        folder = loaded.definition.folder or self.file.resolve().parent
        functions = loaded.functions
        for name in path.split("/")[:-1]:
            does = loaded.definition.agents[name].does
            assert isinstance(does, SubWorkflow)
            file = folder / does.file
            loaded, functions = load(file), {}
            folder, group = loaded.definition.folder or file.resolve().parent, f"{group}{name}."
        return _Level(loaded.definition, folder, functions, group)


@dataclass(frozen=True, slots=True)
class _Level:
    """The workflow, or one of its sub-workflows; `group` is the id of its task group with a dot."""

    definition: Definition
    folder: Path
    functions: Mapping[str, Callable[..., Any]]
    group: str

    def run(self, task: _Task, agent: str, item: int = -1, size: int = 0) -> Data:
        from agentdeck.operations.single_step import run_step

        step = self._step(task, agent, item, size)
        outcome = _do(task, run_step(step, _recording()))
        fault = outcome.fault
        if outcome.state == "failed" and fault is not None and fault.kind not in ("needs", "join"):
            if fault.retryable and task.more_tries:
                raise AgentdeckError(_told(fault))
            if self.definition.agents[agent].on_error.fallback is not None:
                LOG.warning("%s; the fallback goes on", _told(fault))
                outcome = _do(task, run_step(self._step(task, agent, item, size, fault), _recording()))
        return _result(task, outcome)

    def value(self, task: _Task, agent: str, template: Data) -> Data:
        from agentdeck.operations.single_step import value

        return _result(task, _do(task, value(self._step(task, agent), template, _recording())))

    def end(self, task: _Task) -> Any:
        from agentdeck.operations.single_step import SingleStep, output_of

        names = [agent.name for agent in self.definition.agents.values() if not agent.spare]
        ended = self._ended(task, names)
        step = SingleStep(self.definition, self.folder, "", self._inputs(task), ended, functions=self.functions)
        return _do(task, output_of(step, _recording()))

    def _step(
        self, task: _Task, agent: str, item: int = -1, size: int = 0, failed: Fault | None = None
    ) -> SingleStep:
        from agentdeck.operations.single_step import SingleStep, reads

        before = self._ended(task, reads(self.definition, agent))
        inputs = self._inputs(task)
        return SingleStep(
            self.definition, self.folder, agent, inputs, before, item, size, task.attempt, failed, self.functions
        )

    def _inputs(self, task: _Task) -> dict[str, Data]:
        if self.group:
            return dict(task.result(f"{self.group}{INPUTS}"))
        given = task.parameters()
        return {name: value for name, value in given.items() if name in self.definition.inputs}

    def _ended(self, task: _Task, names: Any) -> dict[str, Ended]:
        """How the steps of these agents ended, by the states of their tasks. Those that have not ended are
        missing."""
        from agentdeck.operations.single_step import Ended

        ids = {name: result_task(self.definition.agents[name], self.group) for name in names}
        states = task.states(*ids.values())
        found = {}
        for name, one in ids.items():
            match STATES.get(states.get(one) or ""):
                case "done":
                    found[name] = Ended("done", task.result(one))
                case "failed":
                    found[name] = Ended(
                        "failed", error=str(task.pull(one, ERROR) or "a step that it needs failed")
                    )
                case "skipped":
                    found[name] = Ended("skipped")
        return found


class _Task:
    """The task that is executed, as Airflow knows it."""

    def __init__(self) -> None:
        from airflow.sdk import get_current_context

        self._context: Mapping[str, Any] = get_current_context()
        self._ti = self._context["ti"]

    @property
    def attempt(self) -> int:
        return int(self._ti.try_number)

    @property
    def more_tries(self) -> bool:
        return self.attempt <= int(self._ti.max_tries or 0)

    def parameters(self) -> Mapping[str, Data]:
        return dict(self._context["params"])

    def result(self, task: str, item: int = -1) -> Data:
        """The result of another task."""
        return _from_xcom(self.pull(task, "return_value", item))

    def pull(self, task: str, key: str, item: int = -1) -> Any:
        return self._ti.xcom_pull(task_ids=task, key=key, map_indexes=item)

    def push(self, key: str, value: Data) -> None:
        self._ti.xcom_push(key, value)

    def states(self, *tasks: str) -> Mapping[str, str | None]:
        """The states of other tasks by their ids, of items by `ID_NUMBER`."""
        if not tasks:
            return {}
        run = self._ti.run_id
        found: Mapping[str, Mapping[str, str | None]] = self._ti.get_task_states(
            dag_id=self._ti.dag_id, task_ids=list(tasks), run_ids=[run]
        )
        return found.get(run, {})


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _do(task: _Task, work: Coroutine[Any, Any, T]) -> T:
    """Run a step. What no further try would change fails the task for good."""
    try:
        return asyncio.run(work)
    except AgentdeckError as error:
        _fail(task, str(error))


def _recording() -> Recording:
    from agentdeck.operations.settings import database
    from agentdeck.operations.single_step import Recording

    return Recording(database(), ("airflow",), _log)


def _log(line: LogLine) -> None:
    LOG.log(getattr(logging, line.level.upper(), logging.INFO), "%s", line.text)


def _result(task: _Task, outcome: StepOutcome) -> Data:
    """The result of a step that is done. Raises what tells Airflow how it ended otherwise."""
    from airflow.sdk.exceptions import AirflowSkipException

    if outcome.state == "done":
        return outcome.output
    if outcome.state == "skipped":
        raise AirflowSkipException(outcome.why)
    if outcome.fault is not None:
        _fail(task, outcome.fault.message, _told(outcome.fault))
    _fail(task, outcome.why or outcome.state)


def _told(fault: Fault) -> str:
    return f"{fault.message} ({fault.kind})" + (f"\n{fault.detail}" if fault.detail else "")


def _go_on_after(task: _Task, before: str) -> None:
    """Raises what this task has to do where the first task of its group was skipped, or failed."""
    from airflow.sdk.exceptions import AirflowSkipException

    state = task.states(before).get(before)
    if state == "skipped":
        raise AirflowSkipException(f"{before} was skipped")
    if state != "success":
        _fail(task, str(task.pull(before, ERROR) or f"{before} failed"))


def _fail(task: _Task, why: str, told: str = "") -> NoReturn:
    """Fail for good: no further try is made. `why` is what `error()` reads; `told` says more, for the log."""
    task.push(ERROR, why)
    raise _permanent(told or why)


def _permanent(why: str) -> Exception:
    from airflow.sdk.exceptions import AirflowFailException

    error: Exception = AirflowFailException(why)
    return error


def _as_xcom(value: Data) -> Data:
    """A result as Airflow passes it on unchanged."""
    return {AS_JSON: json.dumps(value)} if _is_taken_for_other(value) else value


def _is_taken_for_other(value: Data) -> bool:
    if isinstance(value, Mapping):
        own = any(key == AS_JSON or key.startswith("__") for key in value)
        return own or any(map(_is_taken_for_other, value.values()))
    return isinstance(value, list) and any(map(_is_taken_for_other, value))


def _from_xcom(value: Any) -> Data:
    if isinstance(value, Mapping) and list(value) == [AS_JSON]:
        return json.loads(value[AS_JSON])
    return value
