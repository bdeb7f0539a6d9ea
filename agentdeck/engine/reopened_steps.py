"""Requests to reopen ended steps, and how the owner of a live run carries them out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agentdeck.errors import UsageError
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.fold import rebuild_task
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.state import root_of
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.reader import Reader
from agentdeck.workflow.model import Data


@dataclass(frozen=True, slots=True)
class ReopenRequest:
    """Steps to reopen, as (task, step), and inputs that override those of their tasks."""

    steps: Sequence[tuple[str, str]]
    inputs: Mapping[str, Data] = field(default_factory=dict)

    @property
    def roots(self) -> set[str]:
        return {root_of(task) for task, _ in self.steps}

    def events(self, at: float, who: str) -> tuple[ev.StepReopened, ...]:
        inputs = dict(self.inputs) or None
        return tuple(ev.StepReopened(at, task, step, who, inputs) for task, step in self.steps)


async def restore_tasks(store: AsyncReader, scheduler: Scheduler, steps: Iterable[tuple[str, str]]) -> None:
    """Restore the ended tasks of these steps from the store. All that was recorded of them must be on disk."""
    roots = {root_of(task) for task, _ in steps}
    past = await store.read(_events_by_task, scheduler.state.run, roots)
    for root, events in past.items():
        if events:
            scheduler.restore_tasks(rebuild_task(scheduler.state.program, scheduler.state.run, int(root), events))


def _events_by_task(reader: Reader, run: str, roots: set[str]) -> dict[str, list[ev.Event]]:
    past: dict[str, list[ev.Event]] = {root: [] for root in roots}
    for event in reader.events_of(run, roots):
        past[root_of(event.task)].append(event)  # type: ignore[union-attr]
    return past


def reopen_order(args: Mapping[str, Data], scheduler: Scheduler, at: float, who: str) -> tuple[ev.Batch, Data]:
    """The event for a `retry` command, and the answer to its sender. Raises UsageError where no step can be
    reopened."""
    steps = steps_of(args)
    can = [step for step in steps if scheduler.can_reopen(*step)]
    if not can:
        raise UsageError("nothing to retry: these steps have not ended, or are being retried already")
    again = ReopenRequest(can, dict(args.get("inputs") or {}))
    return ev.Batch(at, again.events(at, who)), f"{len(can)} of {len(steps)} steps will run again"


def steps_of(args: Mapping[str, Data]) -> list[tuple[str, str]]:
    return [(str(task), str(step)) for task, step in args["steps"]]
