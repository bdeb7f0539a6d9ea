"""Inputs and tasks that a program gives: checked by name, and made plain data.

Each task is checked when it is read: a list may have a million tasks, and an iterator gives them one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from agentdeck.errors import StepError, UsageError
from agentdeck.operations.inputs import check_name, missing_inputs
from agentdeck.workflow.model import Data, Definition
from agentdeck.workflow.wording import fits, kind


def plain_inputs(definition: Definition, given: Mapping[str, Any], *, complete: bool) -> dict[str, Data]:
    """The inputs as plain data; dataclasses and pydantic models become maps. With `complete`, none may be
    missing. Raises UsageError."""
    from agentdeck.agents.plain_data import to_data

    for name in given:
        check_name(name, definition)
    if complete and (missing := missing_inputs(definition, given)):
        raise UsageError(f"{definition.name} needs the input {', '.join(missing)}; give it as {missing[0]}=…")
    inputs: dict[str, Data] = {}
    for name, value in given.items():
        try:
            inputs[name] = to_data(value)
        except StepError as error:
            what = error.fault.message.removeprefix("the result").replace("; return a", "; give a")
            raise UsageError(f"the input {name}{what}") from None
        spec = definition.inputs.get(name)
        if spec is not None and inputs[name] is not None and (wrong := fits(inputs[name], spec.type)):
            raise UsageError(f"the input {name} is {wrong}")
    return inputs


def plain_tasks(
    definition: Definition, inputs: Mapping[str, Data], tasks: Iterable[Mapping[str, Any]]
) -> Iterable[Mapping[str, Data]]:
    """The tasks as plain data, a list as a list. Reading one that is no map of the workflow's inputs raises
    UsageError, as does an iterator that fails. Raises UsageError where `tasks` are none at all."""
    if isinstance(tasks, str | bytes | Mapping) or not isinstance(tasks, Iterable):
        raise UsageError(f"tasks is {kind(tasks)}; give a list of maps of inputs, one map for each task")
    checked = _Tasks(definition, inputs)
    return _TaskList(checked, tasks) if isinstance(tasks, Sequence) else checked.all_of(tasks)


class _Tasks:
    def __init__(self, definition: Definition, inputs: Mapping[str, Data]) -> None:
        self._definition = definition
        self._inputs = inputs

    def checked(self, number: int, task: object) -> dict[str, Data]:
        if not isinstance(task, Mapping):
            raise UsageError(f"task {number} is {kind(task)}; a task is a map of inputs")
        try:
            own = plain_inputs(self._definition, task, complete=False)
            if missing := missing_inputs(self._definition, {**self._inputs, **own}):
                raise UsageError(f"{self._definition.name} needs the input {', '.join(missing)}")
        except UsageError as error:
            raise UsageError(f"task {number}: {error}") from None
        return own

    def all_of(self, tasks: Iterable[object]) -> Iterator[dict[str, Data]]:
        number, given = 0, iter(tasks)
        while True:
            number += 1
            try:
                task = next(given)
            except StopIteration:
                return
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                raise UsageError(f"the iterator of the tasks failed at task {number}: {what}") from error
            yield self.checked(number, task)


class _TaskList(Sequence[Mapping[str, Data]]):
    """A list of tasks, of which each is checked when it is read."""

    def __init__(self, tasks: _Tasks, given: Sequence[object]) -> None:
        self._tasks = tasks
        self._given = given

    def __len__(self) -> int:
        return len(self._given)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Data]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Mapping[str, Data]]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self._tasks.checked(index + 1, self._given[index])
