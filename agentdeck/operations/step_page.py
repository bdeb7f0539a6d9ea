"""The record of one step, as JSON data and as lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterator

from agentdeck.insight.formatting import clock, seconds
from agentdeck.insight.step import attempt_line, fault_line
from agentdeck.terminal_text import clean
from agentdeck.views.step_story import AttemptStory, StepStory
from agentdeck.workflow.model import Data


def render(story: StepStory) -> dict[str, Data]:
    """The JSON document of `agentdeck step --json`."""
    fault = story.fault
    return {
        "run": story.run,
        "task": story.task,
        "step": story.step,
        "agent": story.agent,
        "verb": story.verb,
        "state": story.state,
        "opened": story.opened,
        "ended": story.ended,
        "items": story.size,
        "inputs": story.inputs,
        "asked": story.asked,
        "output": story.output,
        "fault": None if fault is None else fault._asdict(),
        "letter": story.letter,
        "attempts": [_attempt(one) for one in story.attempts],
        "decision": story.decision,
        "notes": [{"at": at, "text": text} for at, text in story.notes],
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


def page(story: StepStory) -> Iterator[str]:
    """The lines of the page that `agentdeck step` and the console's pager show."""
    verb = f" ({story.verb})" if story.verb else ""
    yield clean(f"{story.run}  task {story.task}  {story.step}{verb}  {story.state}")
    if story.fault is not None:
        yield clean(f"failed     {fault_line(story.fault)}")
        if story.fault.detail:
            yield from _value(story.fault.detail)
    if story.attempts:
        yield ""
        yield "attempts"
        for one in story.attempts:
            yield clean(f"  {clock(one.started)}  {attempt_line(one, seconds)}")
    if story.notes:
        yield ""
        yield "on the way"
        for at, text in story.notes:
            yield clean(f"  {clock(at)}  {text}")
    for title, value in (*story.asked.items(), ("inputs", story.inputs or None), ("output", story.output)):
        if value is not None:
            yield ""
            yield title
            yield from _value(value)


def _value(value: Data) -> Iterator[str]:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    for line in clean(text, lines=True).splitlines():
        yield f"  {line}"
