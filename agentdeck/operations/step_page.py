"""The record of one step, as a document and as lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agentdeck.insight.formatting import clock, seconds
from agentdeck.insight.step import attempt_line, excerpt_line, fault_line, inner_counts, inner_line
from agentdeck.terminal_text import clean
from agentdeck.trace_ids import attempt_ids
from agentdeck.views.inner_place import inside
from agentdeck.views.inner_tree import InnerNode
from agentdeck.views.step_story import AttemptStory, StepStory
from agentdeck.workflow.model import Data

if TYPE_CHECKING:
    from agentdeck.documents.step import InnerStep, Step


def step_document(story: StepStory) -> Step:
    """The document of `agentdeck step --json`."""
    from agentdeck.documents import step as documents

    attempts = [
        documents.Attempt.of(
            one,
            inner=[_inner(node) for _, node in one.inner.nodes()],
            inner_count=one.inner.count,
            attempt=one.number,
            **attempt_ids(story.run, story.task, story.step, one.number),
            fault=one.fault and documents.Fault.of(one.fault),
            usage=one.usage and documents.Usage.of(one.usage),
        )
        for one in story.attempts
    ]
    return documents.Step.of(
        story,
        items=story.size,
        fault=story.fault and documents.Fault.of(story.fault),
        attempts=attempts,
        decision=story.decision and documents.Decision.model_construct(**story.decision),
        notes=[documents.Note.model_construct(at=at, text=text) for at, text in story.notes],
    )


def page(story: StepStory) -> Iterator[str]:
    """The lines of the page that `agentdeck step` and the console's pager show."""
    place = f" at {story.place}" if story.place else ""
    verb = f" ({story.verb}{place})" if story.verb else ""
    yield clean(f"{story.run}  task {story.task}  {story.step}{verb}  {story.display_state}")
    if story.fault is not None:
        yield clean(f"failed     {inside(story.inside, fault_line(story.fault))}")
        if story.fault.detail:
            yield from _value(story.fault.detail)
    if story.attempts:
        yield ""
        yield "attempts"
        for one in story.attempts:
            yield clean(f"  {clock(one.started)}  {attempt_line(one, seconds)}")
            yield from _inside(one)
    if story.notes:
        yield ""
        yield "notes"
        for at, text in story.notes:
            yield clean(f"  {clock(at)}  {text}")
    for title, value in (*story.asked.items(), ("inputs", story.inputs or None), ("output", story.output)):
        if value is not None:
            yield ""
            yield title
            yield from _value(value)


def _inner(node: InnerNode) -> InnerStep:
    from agentdeck.documents import step as documents

    return documents.InnerStep.of(
        node,
        fault=node.fault and documents.Fault.of(node.fault),
        usage=node.usage and documents.Usage.of(node.usage),
    )


def _inside(one: AttemptStory) -> Iterator[str]:
    """The inner steps of an attempt as a tree, each with the beginning of what it got and gave."""
    if not one.inner.count:
        return
    yield f"    {inner_counts(one)}" + ("; more: --inner 20000" if one.inner.left_out else "")
    for depth, node in one.inner.nodes():
        indent = "    " + "  " * (depth + 1)
        yield clean(f"{indent}{clock(node.started)}  {node.name}  {inner_line(node, seconds)}")
        for word, value in (("in", node.inputs), ("out", node.output)):
            if value is not None:
                yield clean(f"{indent}  {word:<3} {excerpt_line(value)}")


def _value(value: Data) -> Iterator[str]:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    for line in clean(text, lines=True).splitlines():
        yield f"  {line}"
