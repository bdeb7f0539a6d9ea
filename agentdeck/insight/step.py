"""The page of one step: what it read, what it was asked to do, what came out, and every attempt."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from agentdeck.engine.resume import definition_of, nested_of
from agentdeck.errors import AgentdeckError, Fault, UsageError
from agentdeck.insight.formatting import plural
from agentdeck.insight.prompt_text import asked
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.waits import STARTING
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.views.inner_place import InnerPlace, inside
from agentdeck.views.inner_tree import NEWEST, InnerNode
from agentdeck.views.step_story import AttemptStory, StepStory
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Approve, Data, Definition, SubWorkflow

#: Characters of a value of an inner step that one line shows.
EXCERPT = 160
_ITEM = re.compile(r"(\[[\d.]+\])+$")


def definition_for(definition: Definition, folder: Path, task: str) -> Definition | None:
    """The workflow that a task runs: the run's own, or a file's below it. None where that cannot be read."""
    for part in task.split("/")[1:]:
        agent = definition.agents.get(_ITEM.sub("", part))
        if agent is None or not isinstance(agent.does, SubWorkflow):
            return None
        try:
            definition = load(folder / agent.does.file).definition
        except (AgentdeckError, OSError):
            return None
        folder = definition.folder or folder
    return definition


def step_story(
    definition: Definition | None, events: Iterable[ev.Event], task: str, step: str, *, run: str = ""
) -> StepStory:
    """The story of a step, from the events of its task or of the whole run, in order. Without a definition,
    `asked` and `inputs` stay empty."""
    story = StepStory(definition, task, step, run)
    for event in events:
        story.apply(event)
    _fill_in(story)
    return story


def _fill_in(story: StepStory) -> None:
    """What the last attempt read, and what its agent was asked to do."""
    if story.scope is not None and story.acting is not None:
        story.inputs = {
            name: value
            for name, value in story.scope.items()
            if not name.startswith("__")
            and name not in ("run", "task", "needs")
            and (name != "previous" or value is not None)
        }
        story.asked = asked(story.acting, story.scope)


def recorded_story(reader: Reader, run: str, task: str, step: str, *, inner: int = NEWEST) -> StepStory:
    """The story of a step in a store, with about so many inner steps of each attempt. Raises UsageError where
    there is no such run, task or step."""
    row = reader.run(run)
    folder = Path(str(row.source.get("folder") or "."))
    definition = recorded_definition(reader, row, task)
    if definition is None:  # version 0.1 did not record every sub-workflow
        definition = definition_for(definition_of(reader, row), folder, task)
    story = StepStory(definition, task, step, row.run, inner=inner)
    continue_story(reader, story)
    if story.opened is None:
        raise UsageError(f"no task {task} in {row.run}; its tasks are numbered from 1")
    if not story.known:
        near = difflib.get_close_matches(step, definition.agents if definition else (), n=1)
        raise UsageError(
            f"no step {step} in task {task} of {row.run}" + (f"; did you mean {near[0]}?" if near else "")
        )
    return story


def continue_story(reader: Reader, story: StepStory) -> None:
    """Add what was recorded since the story was read: of a step with many inner steps, reading all of it again
    would take long."""
    before = story.seq
    for seq, event in reader.task_events(story.run, story.task, story.seq):
        story.apply(event)
        story.seq = seq
    if story.seq != before:
        _fill_in(story)


#: The events that say where inside its attempts a step failed.
_OF_PLACE = ("step_started", "inner_started", "inner_ended", "attempt_failed", "step_failed")


def place_of_failure(reader: Reader, run: str, task: str, step: str) -> str:
    """Where inside its last attempt a step failed, by the names of inner steps; empty where it has none."""
    found, place = "", InnerPlace()
    for _, event in reader.step_events(run, task, step, _OF_PLACE):
        match event:
            case ev.StepStarted():
                found, place = "", InnerPlace()
            case ev.InnerStarted():
                place.start(event)
            case ev.InnerEnded():
                place.end(event)
            case ev.AttemptFailed(fault=fault) | ev.StepFailed(fault=fault):
                found = place.of(fault) or found
    return found


def recorded_definition(reader: Reader, row: RunRow, task: str) -> Definition | None:
    """The workflow that a task ran, as it was launched. None where version 0.1 did not record it."""
    path = "/".join(_ITEM.sub("", part) for part in task.split("/")[1:])
    return nested_of(reader, row).get(path) if path else definition_of(reader, row)


def approval(reader: Reader, row: RunRow, step: str, task: str | None) -> Approve | None:
    """The `approve` of a step, by the workflow as it was launched. None where it has no such step: the process
    that holds the run says which there are."""
    above, _, name = step.rpartition("/")
    definition = recorded_definition(reader, row, task or above)
    agent = definition.agents.get(name.partition("[")[0]) if definition is not None else None
    return agent.does if agent is not None and isinstance(agent.does, Approve) else None


def fault_line(fault: Fault) -> str:
    """A fault in one line."""
    return f"{fault.kind}: {fault.message}"


def attempt_line(one: AttemptStory, seconds: Callable[[float | None], str]) -> str:
    """An attempt in one line, without its time of day."""
    parts = [f"#{one.number} {one.state}"]
    if one.ended is not None:
        parts[0] += f" after {seconds(one.seconds)}"
    parts += _kind(one)
    waits = [
        f"{seconds(time)} {'to start' if why == STARTING else f'for {why}'}"
        for why, time in one.waits.items()
        if time >= 0.001
    ]
    if waits:
        parts.append("waited " + ", ".join(waits))
    elif one.waited >= 0.001:
        parts.append(f"waited {seconds(one.waited)}")
    if one.usage is not None:
        parts += used(one.usage)
    if one.fault is not None:
        parts.append(inside(one.inside, fault_line(one.fault)))
    if one.retry_at is not None and one.ended is not None:
        parts.append(f"retry after {seconds(one.retry_at - one.ended)} ({one.retry_for})")
    return " · ".join(parts)


def inner_line(one: InnerNode, seconds: Callable[[float | None], str]) -> str:
    """An inner step in one line, without its name and its time of day."""
    parts = [one.state if one.ended is None else f"{one.state} after {seconds(one.seconds)}"]
    parts += [one.kind] if one.kind and one.kind != one.name else []
    if one.usage is not None:
        parts += used(one.usage)
    if one.fault is not None:
        parts.append(one.fault.message.partition("\n")[0])
    return " · ".join(parts)


def excerpt_line(value: Data) -> str:
    """The beginning of a value in one line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT else f"{line[:EXCERPT]}…"


def inner_counts(one: AttemptStory) -> str:
    """The number of inner steps of an attempt, and of those that are not shown."""
    tree = one.inner
    failed = f", {tree.failed:,} failed" if tree.failed else ""
    left = f"; the last {tree.count - tree.left_out:,} are shown" if tree.left_out else ""
    return f"{plural(tree.count, 'inner step')}{failed}{left}"


def _kind(one: AttemptStory) -> list[str]:
    """What is special about an attempt."""
    parts = [f"on {one.worker}"] if one.worker else []
    parts += [f"round {one.round}"] if one.round > 1 else []
    if one.tier_up:
        parts.append(f"{one.tier_up} tier{'s' * (one.tier_up > 1)} up")
    if one.eased:
        parts.append(f"reduced by the budget ({one.eased})")
    if one.uses:
        parts.append("uses " + ", ".join(f"{name} {amount}" for name, amount in one.uses.items()))
    return [*parts, "result reused"] if one.reused else parts


def used(usage: ev.Usage) -> list[str]:
    """The model, tokens and dollars of an attempt, where they are known."""
    parts = [usage.model] if usage.model else []
    if usage.tokens_in is not None or usage.tokens_out is not None:
        known = ("?" if count is None else f"{count:,}" for count in (usage.tokens_in, usage.tokens_out))
        parts.append("{} tokens in, {} out".format(*known))
    if usage.usd is not None:
        parts.append(f"${usage.usd:.4f}")
    if usage.estimated:
        parts.append("estimated")
    return parts
