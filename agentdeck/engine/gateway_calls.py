"""Turns calls through the gateway into nested tasks of the attempts that make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agentdeck.agents.attempt_usage import length_of
from agentdeck.engine.clock import Clock
from agentdeck.errors import Fault
from agentdeck.gateway.model_request import CallFailure, last_question
from agentdeck.gateway.open_call import AttemptOver, OpenCall, OpenCalls
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.state import call_id
from agentdeck.workflow.model import Data

if TYPE_CHECKING:
    from agentdeck.gateway.gateway import Access

#: The most characters of the question that are recorded.
MOST_TEXT = 2000
#: Who cancels a call whose client has gone.
CLIENT = "its client, which closed the connection"
#: The status for each kind of failure. A provider that asks to wait is waited for, so 429 is none of them.
STATUSES = {
    "context": 400, "refused": 400, "rejected": 400, "quota": 402, "budget": 402, "model": 403, "forbidden": 403,
    "timeout": 504, "setup": 500, "expression": 500,
}  # fmt: skip
UPSTREAM = 502
#: The events that `ended` has to be called with.
CALL_ENDS = (ev.TaskEnded, ev.StepCancelled, ev.StepSkipped)


class GatewayCalls:
    """The calls of a run. `feed`, which is set before the first one, gives the scheduler an event. `ended` is
    called with each event of CALL_ENDS."""

    feed: Callable[[ev.Event | ev.Signal], None]

    def __init__(self, scheduler: Scheduler, clock: Clock, calls: OpenCalls, hide: Callable[[str], str]) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._calls = calls
        self._hide = hide
        self._why: dict[str, str] = {}

    def open(self, access: Access, target: str, api: str, call: OpenCall) -> str:
        task, step, attempt = access.attempt
        access.calls += 1
        name = call_id(task, step, attempt, access.calls)
        self._calls.add(name, call)
        inputs = self._described(access, api, call)
        self.feed(ev.TaskOpened(self._clock.now(), name, inputs, (task, step), target))
        if not call.ended and name not in self._scheduler.state.tasks:
            self._calls.pop(name)
            raise AttemptOver
        return name

    def cancel(self, task: str) -> None:
        found = self._scheduler.state.tasks.get(task)
        if found is not None:
            self.feed(ev.CancelAsked(self._clock.now(), task, found.called, CLIENT))

    def ended(self, event: ev.Event) -> None:
        """The step or the task of a call may have ended: once the task has, the client gets the answer."""
        if isinstance(event, ev.StepCancelled | ev.StepSkipped):
            if self._calls.find(event.task) is not None:
                self._why[event.task] = event.why
        elif isinstance(event, ev.TaskEnded) and (call := self._calls.pop(event.task)) is not None:
            why = self._why.pop(event.task, "")
            call.end(None if event.state == "done" else _failure(event.fault, why))

    def _described(self, access: Access, api: str, call: OpenCall) -> dict[str, Data]:
        """What is recorded of a request: never all of it, as there may be thousands of calls of a megabyte."""
        request = call.request
        text = last_question(request.prompt.messages)
        shown = access.mask.hide(self._hide(text[: 2 * MOST_TEXT]))
        found: dict[str, Data] = {
            "api": api,
            "model": request.model[:200],
            "messages": len(request.prompt.messages),
            "text": shown if len(shown) <= MOST_TEXT else f"{shown[:MOST_TEXT]}…",
            "size": length_of(request.prompt),
        }
        if request.prompt.tools:
            found["tools"] = len(request.prompt.tools)
        if request.prompt.max_output is not None:
            found["max_output"] = request.prompt.max_output
        return found


def _failure(fault: Fault | None, why: str) -> CallFailure:
    """What a client gets for a call that has no answer."""
    if fault is not None:
        return CallFailure(STATUSES.get(fault.kind, UPSTREAM), fault.kind, fault.message)
    if "budget" in why:
        return CallFailure(402, "budget", f"agentdeck: {why}")
    return CallFailure(503, "cancelled", f"agentdeck: {why or 'the call was cancelled'}")
