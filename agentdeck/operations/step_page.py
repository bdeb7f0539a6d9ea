"""The record of one step, as JSON data and as lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterator

from agentdeck.insight.formatting import clock, seconds
from agentdeck.insight.step import AttemptStory, StepStory, attempt_line, fault_line
from agentdeck.terminal_text import clean
from agentdeck.workflow.model import Data


def render(told: StepStory) -> dict[str, Data]:
    """The JSON document of `agentdeck step --json`."""
    fault = told.fault
    return {
        "run": told.run,
        "task": told.task,
        "step": told.step,
        "agent": told.agent,
        "verb": told.verb,
        "state": told.state,
        "opened": told.opened,
        "ended": told.ended,
        "items": told.size,
        "inputs": told.inputs,
        "asked": told.asked,
        "output": told.output,
        "fault": None if fault is None else fault._asdict(),
        "letter": told.letter,
        "attempts": [_attempt(one) for one in told.attempts],
        "decision": told.decision,
        "notes": [{"at": at, "text": text} for at, text in told.notes],
    }


def _attempt(one: AttemptStory) -> dict[str, Data]:
    return {
        "attempt": one.number,
        "agent": one.agent,
        "state": one.state,
        "round": one.round,
        "tier_up": one.tier_up,
        "model": one.model,
        "eased": one.eased,
        "ready": one.ready,
        "started": one.started,
        "ended": one.ended,
        "seconds": one.seconds,
        "waited": one.waited,
        "waits": one.waits,
        "reused": one.reused,
        "fault": None if one.fault is None else one.fault._asdict(),
        "usage": None if one.usage is None else one.usage._asdict(),
        "retry_at": one.retry_at,
        "retry_for": one.retry_for,
    }


def page(told: StepStory) -> Iterator[str]:
    """The lines of the page that `agentdeck step` and the console's pager show."""
    verb = f" ({told.verb})" if told.verb else ""
    yield clean(f"{told.run}  task {told.task}  {told.step}{verb}  {told.state}")
    if told.fault is not None:
        yield clean(f"failed     {fault_line(told.fault)}")
        if told.fault.detail:
            yield from _value(told.fault.detail)
    if told.attempts:
        yield ""
        yield "attempts"
        for one in told.attempts:
            yield clean(f"  {clock(one.started)}  {attempt_line(one, seconds)}")
    if told.notes:
        yield ""
        yield "on the way"
        for at, text in told.notes:
            yield clean(f"  {clock(at)}  {text}")
    for title, value in (*told.asked.items(), ("inputs", told.inputs or None), ("output", told.output)):
        if value is not None:
            yield ""
            yield title
            yield from _value(value)


def _value(value: Data) -> Iterator[str]:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    for line in clean(text, lines=True).splitlines():
        yield f"  {line}"
