"""The spans of a step: its waits, rounds and attempts, and the step when it has ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import CANCELLED, DONE, ENDED, FAILED, SKIPPED
from agentdeck.telemetry import attributes as at
from agentdeck.telemetry.attempt_spans import AttemptSpans
from agentdeck.telemetry.content import Content
from agentdeck.telemetry.open_task import OpenStep, OpenTask
from agentdeck.telemetry.span import Span, SpanLink, Value
from agentdeck.trace_ids import span_id
from agentdeck.views.step_transitions import Change, follow

#: The wait for an answer of the operator: the step runs meanwhile.
APPROVAL = "approval"


class StepSpans:
    """Applies events to open steps; what an event means is decided by `views/step_transitions.py`."""

    def __init__(self, attempts: AttemptSpans, content: Content | None) -> None:
        self._attempts = attempts
        self._content = content

    def follow(self, seq: int, task: OpenTask, step: OpenStep, event: Any) -> Iterator[Span]:
        """The spans that the event ended."""
        change = follow(step.view, event)
        if change is None:
            return
        if isinstance(event, ev.StepStarted):
            _start(task, step, event)
            yield from _waits(seq, task, step, event.at, change)
            return
        if isinstance(event, ev.StepAnswered) and APPROVAL in change.waits:
            yield _answer(seq, task, step, event, change)
        if change.outcome == "deferred":  # it did no work, and counts as no attempt
            step.attempts -= len(change.ended)
        else:
            for started in change.ended:
                step.worked += max(0.0, event.at - started.at)
                yield from self._attempts.spans(task, step, started, event, change.outcome)
        if change.ended or APPROVAL in change.waits:
            step.idle = event.at
        else:
            yield from _waits(seq, task, step, event.at, change)
        _note(task, step, event)
        if step.view.state in ENDED:
            yield from self._end(task, step, event)
        elif step.round and isinstance(event, ev.StepSucceeded):
            yield _end_round(task, step, event.at)

    def _end(self, task: OpenTask, step: OpenStep, event: Any) -> Iterator[Span]:
        if step.round:
            yield _end_round(task, step, event.at)
        known = _facts(task, step, event)
        if self._content is not None:
            known |= self._content.values(None, step.output)
        fault = step.view.fault if step.view.state == FAILED else None
        group = task.steps.get(step.group) if step.group != step.key else None
        yield task.make(
            task.step_span(step), task.span if group is None else task.step_span(group),
            f"invoke_agent {step.group}", step.since, event.at, known, links=step.links,
            events=tuple(step.moments), error=fault.kind if fault else "", message=fault.message if fault else "",
        )  # fmt: skip
        step.over, step.moments, step.links, step.output = True, [], (), None


def _note(task: OpenTask, step: OpenStep, event: Any) -> None:
    """Keep the output of a step, and the links of one that makes no attempts of its own."""
    if isinstance(event, ev.StepSucceeded):
        step.output = event.output
    elif isinstance(event, ev.StepExpanded) and event.step == step.key:
        step.links = _needs(task, step)


def _start(task: OpenTask, step: OpenStep, event: ev.StepStarted) -> None:
    step.attempts += 1
    if step.attempts == 1:
        step.links = _needs(task, step)
    if step.view.agent.rounds and step.group == step.key and not step.round:
        step.round, step.round_since = event.round, step.idle


def _needs(task: OpenTask, step: OpenStep) -> tuple[SpanLink, ...]:
    """Links to the steps whose results this one uses: of a join, those that are done by now. Of a task that was
    reopened after its end, the steps that did not run again are those of its first life."""
    agent = task.agent(step.key)
    links = []
    for name in agent.needs if agent is not None else ():
        need = task.steps.get(name)
        if need.view.state == DONE if need is not None else task.life:
            life = need.life if need is not None else 0
            links.append(SpanLink(task.trace, span_id(task.run, task.id, name, "step", life), {at.LINK: name}))
    return tuple(links)


def _waits(seq: int, task: OpenTask, step: OpenStep, until: float, change: Change) -> Iterator[Span]:
    """The waits for a start that ended, one after another from when the step last stopped running."""
    since = step.idle
    for reason, seconds in change.waits.items():
        end = min(until, since + seconds)
        if end > since and reason != APPROVAL:
            yield _wait(seq, task, step, reason, task.around(step), since, end)
            step.waited += end - since
            since = end


def _wait(seq: int, task: OpenTask, step: OpenStep, reason: str, parent: str, since: float, end: float) -> Span:
    known: dict[str, Value] = {at.KIND: "CHAIN", at.TASK: task.id, at.STEP: step.key, at.WAIT_REASON: reason}
    return task.make(task.wait_span(step, seq, reason), parent, f"wait {reason}", since, end, known)


def _answer(seq: int, task: OpenTask, step: OpenStep, event: ev.StepAnswered, change: Change) -> Span:
    """The wait for an answer, in the attempt that asked."""
    asked = event.at - change.waits[APPROVAL]
    inside = task.attempt_span(step.key, change.ended[0].attempt) if change.ended else task.around(step)
    return _wait(seq, task, step, APPROVAL, inside, asked, event.at)


def _end_round(task: OpenTask, step: OpenStep, end: float) -> Span:
    known: dict[str, Value] = {at.KIND: "CHAIN", at.TASK: task.id, at.STEP: step.key, at.ROUND: step.round}
    span, parent = task.round_span(step), task.step_span(step)
    number, step.round = step.round, 0
    return task.make(span, parent, f"round {number}", step.round_since, end, known)


def _facts(task: OpenTask, step: OpenStep, event: Any) -> dict[str, Value]:
    """What is known of a step that has ended."""
    view, agent = step.view, task.agent(step.group)
    known: dict[str, Value] = {
        at.OPERATION: "invoke_agent",
        at.KIND: "AGENT",
        at.AGENT: step.group,
        at.TASK: task.id,
        at.STEP: step.key,
        at.STEP_STATE: view.display_state,
        at.ATTEMPTS: step.attempts,
        at.WAITED: round(step.waited, 6),
        at.WORKED: round(step.worked, 6),
    }
    if agent is not None:
        known[at.VERB] = agent.does.verb
    if view.size >= 0:
        known[at.ITEMS] = view.size
    if view.letter:
        known[at.LETTER] = True
    if isinstance(event, ev.StepFailed) and event.tolerated:
        known[at.TOLERATED] = True
    if view.state in (SKIPPED, CANCELLED) and view.why:
        known[at.WHY] = view.why
    return known
