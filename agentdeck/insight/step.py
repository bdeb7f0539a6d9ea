"""What happened in one step: what went in, what was asked, what came out, and every attempt on the way.

Only recorded events are read. What the step saw is worked out again from the results recorded before it began,
by the same rules that gave it to the agent.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agentdeck.engine.resume import definition_of, nested_of
from agentdeck.errors import AgentdeckError, Fault, UsageError
from agentdeck.insight.prompt_text import asked
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import describe, output_of, record
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scope import scope_of
from agentdeck.scheduler.state import CANCELLED, DONE, FAILED, SKIPPED, WAITING, Step, Task
from agentdeck.store.reader import Reader
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Agent, Data, Definition, SubWorkflow


@dataclass(slots=True)
class AttemptStory:
    """One attempt. `waits` tells how the time from `ready` to `started` went, by reason, where that is known.
    `state` is running, done, failed or lost. `retry_at` and `retry_for`: when it went again, and after what."""

    number: int
    agent: str
    ready: float
    started: float
    round: int = 1
    tier_up: int = 0
    waits: dict[str, float] = field(default_factory=dict)
    ended: float | None = None
    state: str = "running"
    fault: Fault | None = None
    usage: ev.Usage | None = None
    reused: bool = False
    retry_at: float | None = None
    retry_for: str = ""
    model: str = ""
    eased: str = ""

    @property
    def seconds(self) -> float | None:
        return None if self.ended is None else self.ended - self.started

    @property
    def waited(self) -> float:
        return max(0.0, self.started - self.ready)


@dataclass(slots=True)
class StepStory:
    """One step of one task. `state` is waiting until the log says more. `inputs` is what it could read: the
    task's inputs, upstream results by name, `item` and `previous`, as they were when its last attempt began.
    `asked` is what its agent was told to do, with all values filled in, in named parts. `notes` are the
    moments between attempts, with their times. `decision` is the record of who decided an approval, and how."""

    task: str
    step: str
    run: str = ""
    agent: str = ""
    verb: str = ""
    state: str = WAITING
    opened: float | None = None
    ended: float | None = None
    inputs: dict[str, Data] = field(default_factory=dict)
    asked: dict[str, Data] = field(default_factory=dict)
    output: Data = None
    fault: Fault | None = None
    letter: bool = False
    size: int | None = None
    attempts: list[AttemptStory] = field(default_factory=list)
    notes: list[tuple[float, str]] = field(default_factory=list)
    decision: dict[str, Data] | None = None

    @property
    def known(self) -> bool:
        """Whether the log says anything about this step, or its workflow has it."""
        return bool(self.agent or self.attempts or self.notes)


_ITEM = re.compile(r"\[(\d+)\]$")


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
    what was asked and what it read stay empty."""
    teller = _Teller(definition, StepStory(task, step, run))
    for event in events:
        teller.take(event)
    return teller.story


def recorded_story(reader: Reader, run: str, task: str, step: str) -> StepStory:
    """The story of a step in a store. Raises UsageError where there is no such run, task or step."""
    row = reader.run(run)
    folder = Path(str(row.source.get("folder") or "."))
    path = "/".join(_ITEM.sub("", part) for part in task.split("/")[1:])
    definition = nested_of(reader, row).get(path) if path else definition_of(reader, row)
    if definition is None:  # version 0.1 did not record every sub-workflow
        definition = definition_for(definition_of(reader, row), folder, task)
    events = (event for _, event in reader.task_events(row.run, task))
    told = step_story(definition, events, task, step, run=row.run)
    if told.opened is None:
        raise UsageError(f"no task {task} in {row.run}; its tasks are numbered from 1")
    if not told.known:
        near = difflib.get_close_matches(step, definition.agents if definition else (), n=1)
        raise UsageError(
            f"no step {step} in task {task} of {row.run}" + (f"; did you mean {near[0]}?" if near else "")
        )
    return told


class _Teller:
    """Follows the results of one task, and everything about one of its steps."""

    def __init__(self, definition: Definition | None, story: StepStory) -> None:
        self.story = story
        self.program = Program(definition) if definition is not None else None
        self.task: Task | None = None
        self.acting: Agent | None = None
        name = _ITEM.sub("", story.step)
        if definition is not None and name in definition.agents:
            self.acting = definition.agents[name]
            story.agent, story.verb = name, self.acting.does.verb

    def take(self, event: ev.Event) -> None:
        if getattr(event, "task", None) != self.story.task:
            return
        if isinstance(event, ev.TaskOpened):
            self.story.opened = event.at
            if self.program is not None:
                self.task = Task(event.task, 0, self.program, event.inputs, event.parent, {})
            return
        key = getattr(event, "step", "")
        if key == self.story.step:
            self._own(event)
        if key and self.task is not None:
            self._result(self.task, key, event)

    # What the task gave so far, as much as a scope needs

    def _result(self, task: Task, key: str, event: ev.Event) -> None:
        step = task.step(key)
        if step is None:
            return
        match event:
            case ev.StepSucceeded():
                step.output = event.output
                if not step.rule.rounds or step.item >= 0:
                    self._done(task, step)
            case ev.StepDone():
                if step.items is not None:
                    step.output = [item.output for item in step.items]
                self._done(task, step)
            case ev.StepAnswered():
                step.output = output_of(event)
                self._done(task, step)
            case ev.StepExpanded():
                step.items = [self._item(task, step, i) for i in range(event.size)]
            case ev.StepRepeated():
                step.previous, step.round = step.output, event.round
                if step.arrivals:
                    step.arrivals.pop(0)
            case ev.StepFailed():
                step.state, step.fault = FAILED, event.fault
            case ev.StepSkipped():
                step.state = SKIPPED
            case ev.StepCancelled():
                step.state = CANCELLED
            case ev.StepReopened():
                step.state, step.output, step.previous = WAITING, None, None

    @staticmethod
    def _item(task: Task, group: Step, i: int) -> Step:
        item = Step(task, group.rule, f"{group.key}[{i}]")
        item.item, item.group = i, group
        task.extra[item.key] = item
        return item

    @staticmethod
    def _done(task: Task, step: Step) -> None:
        step.state = DONE
        if step.group is not None:
            return
        for index in step.rule.dependents:
            below = task.steps[index]
            if below is not None and below.rule.join.kind == "progressive":
                below.arrivals = [*(below.arrivals or ()), step.rule.index]

    # The step itself

    def _own(self, event: ev.Event) -> None:
        story, at = self.story, event.at
        last = story.attempts[-1] if story.attempts else None
        match event:
            case ev.StepStarted():
                self._started(event)
            case ev.StepSucceeded():
                story.state, story.ended, story.output, story.fault = "done", at, event.output, None
                if last is not None:
                    last.ended, last.state = at, "done"
                    last.usage, last.reused = event.usage, event.reused
            case ev.AttemptFailed() if last is not None:
                last.ended, last.state, last.fault, last.usage = at, "failed", event.fault, event.usage
            case ev.AttemptLost() if last is not None:
                last.ended, last.state, last.usage = at, "lost", event.usage
            case ev.AttemptDeferred() if last is not None:
                story.attempts.pop()
                story.state = "ready"
                self._note(at, event.why)
            case ev.StepRetrying() if last is not None:
                story.state = "ready"
                last.retry_at, last.retry_for = event.until, event.reason
            case ev.StepFellBack():
                story.state = "ready"
                self._note(at, f"falls back on {event.agent}")
            case ev.StepRepeated():
                story.state = "ready"
                self._note(at, f"round {event.round}")
            case ev.StepExpanded():
                story.state, story.size = "running", event.size
                self._note(at, f"{event.size:,} items")
            case ev.StepDone():
                story.state, story.ended = "done", at
                own = self.task.step(story.step) if self.task is not None else None
                if own is not None and own.items is not None:
                    story.output = [item.output for item in own.items]
            case ev.StepFailed():
                story.state, story.ended, story.fault, story.letter = "failed", at, event.fault, event.letter
                if last is not None and event.usage is not None:
                    last.usage = event.usage
                if event.tolerated:
                    self._note(at, "failed, and the task goes on without it")
            case ev.StepSkipped():
                story.state, story.ended = "skipped", at
                self._note(at, f"skipped: {event.why}")
            case ev.StepCancelled():
                story.state, story.ended = "cancelled", at
                if last is not None and last.ended is None:
                    last.ended, last.state, last.usage = at, "cancelled", event.usage
                self._note(at, event.why or "cancelled")
            case ev.StepReleased():
                self._note(at, "join released" + _by(event.who))
            case ev.StepAnswered():
                story.state, story.ended = "done", at
                story.output, story.decision = output_of(event), record(event)
                if last is not None:
                    last.ended, last.state = at, "done"
                self._note(at, describe(event))
            case ev.StepReopened():
                story.state, story.ended, story.fault, story.decision = "waiting", None, None, None
                self._note(at, "opened again" + _by(event.who))
            case ev.StepWaited():
                self._note(at, f"waits for {event.reason}" + (f": {event.why}" if event.why else ""))
            case ev.Noted():
                self._note(at, event.text)

    def _started(self, event: ev.StepStarted) -> None:
        story = self.story
        story.state = "running"
        story.attempts.append(
            AttemptStory(
                event.attempt,
                event.agent,
                event.ready,
                event.at,
                event.round,
                event.tier_up,
                dict(event.waits or {}),
                model=event.model,
                eased=event.eased,
            )
        )
        task, program = self.task, self.program
        if task is None or program is None or event.agent not in program.definition.agents:
            return
        own = task.step(event.step)
        if own is None:
            return
        own.acting = program.rules[program.index[event.agent]]
        self.acting = own.acting.agent
        try:
            scope = scope_of(own, story.run)
        except (AgentdeckError, IndexError, TypeError):
            story.inputs, story.asked = {}, {}
            return
        story.inputs = {
            name: value
            for name, value in scope.items()
            if not name.startswith("__")
            and name not in ("run", "task", "needs")
            and (name != "previous" or value is not None)
        }
        story.asked = asked(self.acting, scope)

    def _note(self, at: float, text: str) -> None:
        self.story.notes.append((at, text))


def _by(who: str) -> str:
    return f" by {who}" if who else ""


def fault_line(fault: Fault) -> str:
    """A fault in one line."""
    return f"{fault.kind}: {fault.message}"


def attempt_line(one: AttemptStory, seconds: Callable[[float | None], str]) -> str:
    """An attempt in one line, without its time of day."""
    parts = [f"#{one.number} {one.state}"]
    if one.ended is not None:
        parts[0] += f" after {seconds(one.seconds)}"
    if one.round > 1:
        parts.append(f"round {one.round}")
    if one.tier_up:
        parts.append(f"{one.tier_up} tier{'s' * (one.tier_up > 1)} up")
    if one.eased:
        parts.append(f"made cheaper ({one.eased})")
    if one.reused:
        parts.append("result reused")
    waits = [f"{seconds(time)} for {why}" for why, time in one.waits.items() if time >= 0.001]
    if waits:
        parts.append("waited " + ", ".join(waits))
    elif one.waited >= 0.001:
        parts.append(f"waited {seconds(one.waited)}")
    if one.usage is not None:
        parts += used(one.usage)
    if one.fault is not None:
        parts.append(fault_line(one.fault))
    if one.retry_at is not None and one.ended is not None:
        parts.append(f"goes again after {seconds(one.retry_at - one.ended)} ({one.retry_for})")
    return " · ".join(parts)


def used(usage: ev.Usage) -> list[str]:
    """What an attempt used, where that is known."""
    parts = [usage.model] if usage.model else []
    if usage.tokens_in is not None or usage.tokens_out is not None:
        known = ("?" if count is None else f"{count:,}" for count in (usage.tokens_in, usage.tokens_out))
        parts.append("{} tokens in, {} out".format(*known))
    if usage.usd is not None:
        parts.append(f"${usage.usd:.4f}")
    if usage.estimated:
        parts.append("estimated")
    return parts
