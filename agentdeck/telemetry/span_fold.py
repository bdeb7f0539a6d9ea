"""The fold from the log of a run to spans: pure, and without OpenTelemetry.

    invoke_workflow order                      one task; a trace
      invoke_agent extract                     a step, from the opening of its task to its end
        wait needs | wait pool | wait backoff  one span per reason, one after another
        round 2                                where the agent repeats
        attempt 1                              retries are siblings
          chat gpt-5-mini                      of prompts, with the usage
          execute_tool search
          critic                               inside the object of a framework
            chat gpt-5-mini
            execute_tool search
          invoke_workflow review               a sub-workflow: the task nested in the step
        invoke_agent notes                     an item of `each`
    run order                                  a trace of its own, where a run has several tasks

A span is returned by the event that ends it, so the fold of a log up to an event gives exactly the spans that had
ended by then. Ids are derived from names (`trace_ids.py`). A step or task that is reopened gets another span,
whose id has the number of the event that reopened it.

Memory is bounded by the open tasks: a task is dropped when it ends.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from agentdeck.scheduler import events as ev
from agentdeck.telemetry import attributes as at
from agentdeck.telemetry.attempt_spans import AttemptSpans, Calls, Model
from agentdeck.telemetry.content import Content
from agentdeck.telemetry.open_task import OpenTask, make_span
from agentdeck.telemetry.span import Span, SpanEvent, SpanLink, Value
from agentdeck.telemetry.step_spans import StepSpans
from agentdeck.trace_ids import span_id, trace_id
from agentdeck.views.agent_totals import RunTotals
from agentdeck.views.run_timeline import NOTED, RunTimeline
from agentdeck.views.step_transitions import StepView, follow, reopened_steps
from agentdeck.workflow.model import Definition

#: Moments of a span that are kept, the first ones of more.
MOST_MOMENTS = 128
#: Kinds of moments that are spans, or the state of one.
_SPANS = frozenset({"failure", "lost", "retry", "failed", "ended"})
#: Kinds of moments whose text repeats what an agent or the operator wrote.
_CONTENT = frozenset({"noted", "answered"})
#: Events that concern more steps than the one they name.
_SEVERAL = (ev.TaskEnded, ev.StepExpanded)
_ITEM = re.compile(r"(\[[\d.]+\])+$")


class SpanFold:
    """Spans of one run. `definitions` are its workflow (under the empty path) and its sub-workflows by path;
    `models` are those of the deck by name. Without `content` no prompt, input or output is in a span."""

    def __init__(
        self,
        run: str,
        definitions: Mapping[str, Definition],
        *,
        models: Mapping[str, Model] | None = None,
        calls: Calls | None = None,
        content: Content | None = None,
    ) -> None:
        self.run = run
        self._definitions = definitions
        self._content = content
        attempts = AttemptSpans(models or {}, calls, content)
        self._inner = attempts.inner
        self._steps = StepSpans(attempts, content)
        self._totals: dict[str, RunTotals] = {}
        self._tasks: dict[str, OpenTask] = {}
        self._started: ev.RunStarted | None = None
        self._since = 0.0
        self._life = 0
        self._over = False
        self._counts = {at.TASKS: 0, at.TASKS_DONE: 0, at.TASKS_FAILED: 0, at.TASKS_CANCELLED: 0}
        self._moments: list[SpanEvent] = []
        self._last: tuple[OpenTask, ev.TaskEnded] | None = None  # the only task of a run that has not ended

    @property
    def open_tasks(self) -> Collection[str]:
        """The tasks that are remembered."""
        return self._tasks.keys()

    def apply(self, seq: int, event: Any) -> list[Span]:
        """Apply the event with this number. Returns the spans that it ended, inner ones first."""
        if self._over and isinstance(event, ev.RunResumed | ev.StepReopened):
            self._over, self._life, self._since = False, seq, event.at
        found = list(self._spans(seq, event))
        if self._content is not None:
            self._content.apply(event)
        if type(event) in NOTED:
            self._note(seq, event)
        return found

    def _spans(self, seq: int, event: Any) -> Iterator[Span]:
        if isinstance(event, ev.RunStarted):
            self._started, self._since = event, event.at
        elif isinstance(event, ev.RunResumed):
            self._resume(event)
        elif isinstance(event, ev.RunEnded):
            yield from self._end_run(event)
        elif isinstance(event, ev.TaskOpened):
            self._open_task(seq, event)
        elif getattr(event, "task", "") and not isinstance(event, ev.TaskHurried):
            yield from self._of_task(seq, event)

    # The run

    @property
    def _workflow(self) -> str:
        return self._started.workflow if self._started is not None else ""

    @property
    def _is_single(self) -> bool:
        """Whether the run has one task: the span of that is then the span of the run."""
        return self._started is not None and self._started.tasks == 1

    @property
    def _run_span(self) -> str:
        return span_id(self.run, "run", self._life)

    def _resume(self, event: ev.RunResumed) -> None:
        """Steps did not wait while no process executed the run."""
        for task in self._tasks.values():
            for step in task.steps.values():
                step.view.since += event.idle
                if step.view.attempt is None:
                    step.idle += event.idle

    def _end_run(self, event: ev.RunEnded) -> Iterator[Span]:
        known: dict[str, Value] = {at.RUN_STATE: event.state, at.KIND: "CHAIN"}
        if self._started is not None:
            known[at.IDENTITY] = self._started.identity[:12]
        if self._last is not None:
            yield self._task_span(*self._last, event.at, known)
        elif not self._is_single:
            yield make_span(
                self.run, trace_id(self.run), self._run_span, "", f"run {self._workflow}", self._since, event.at,
                {**known, **self._counts, at.SESSION: self.run}, events=tuple(self._moments),
                error="failed" if event.state == "failed" else "",
            )  # fmt: skip
        self._last, self._moments, self._over = None, [], True

    # Tasks

    def _open_task(self, seq: int, event: ev.TaskOpened) -> None:
        """A nested task is opened again for another round of the step that contains it: that is another span."""
        life, above = 0, ""
        if event.parent is not None:
            holder = self._task(seq, event.parent[0], event.at)
            above = holder.inside(holder.step(event.parent[1]))
            life = seq if holder.life or event.task in holder.nested else 0
            holder.nested.add(event.task)
        else:
            self._counts[at.TASKS] += 1
        task = self._add_task(event.task, event.at, life, above)
        if self._content is not None:
            task.inputs = event.inputs

    def _task(self, seq: int, name: str, at_: float) -> OpenTask:
        """The task, opened again if it had ended."""
        task = self._tasks.get(name)
        if task is None:
            holder, _, key = name.rpartition("/")
            outer = self._tasks.get(holder)
            above = outer.inside(outer.step(key)) if outer is not None else ""
            task = self._add_task(name, at_, seq, above)
        return task

    def _add_task(self, name: str, at_: float, life: int, above: str) -> OpenTask:
        path = "/".join(_ITEM.sub("", part) for part in name.split("/")[1:])
        definition = self._definitions.get(path)
        totals = self._totals.get(path)
        if totals is None:
            totals = self._totals[path] = RunTotals(definition)
        task = self._tasks[name] = OpenTask(self.run, name, at_, life, above, definition, totals)
        if self._content is not None:
            self._content.open(name, definition)
        return task

    def _of_task(self, seq: int, event: Any) -> Iterator[Span]:
        if self._last is not None and isinstance(event, ev.StepReopened):
            last, self._last = self._last, None
            yield self._task_span(*last, last[1].at)
        task = self._task(seq, event.task, event.at)
        if isinstance(event, ev.StepReopened):
            _reopen(seq, task, event)
            return
        if isinstance(event, ev.InnerStarted | ev.InnerEnded):
            yield from self._inner.apply(task, event)
            return
        named = getattr(event, "step", "")
        steps = [task.step(named)] if named else []
        for step in list(task.steps.values()) if isinstance(event, _SEVERAL) else steps:
            if not step.over:
                yield from self._steps.follow(seq, task, step, event)
        if isinstance(event, ev.TaskEnded):
            yield from self._end_task(task, event)

    def _end_task(self, task: OpenTask, event: ev.TaskEnded) -> Iterator[Span]:
        del self._tasks[task.id]
        for nested in task.nested:
            self._tasks.pop(nested, None)
        if "/" not in task.id:
            counted = f"{at.TASKS}.{event.state}"
            self._counts[counted] = self._counts.get(counted, 0) + 1
        if self._is_single and "/" not in task.id:
            self._last = task, event  # its span ends with the run
        else:
            yield self._task_span(task, event, event.at)

    def _task_span(
        self, task: OpenTask, event: ev.TaskEnded, end: float, of_run: Mapping[str, Value] | None = None
    ) -> Span:
        """The span of a task; with `of_run`, of a run with this one task, which it covers."""
        root, start = "/" not in task.id, task.opened
        name = self._workflow if root else task.id.rpartition("/")[2]
        if task.definition is not None:
            name = task.definition.name
        known: dict[str, Value] = {
            at.OPERATION: "invoke_workflow", at.KIND: "CHAIN", at.AGENT: name, at.TASK: task.id,
            at.TASK_STATE: event.state, **(of_run or {}),
        }  # fmt: skip
        links: tuple[SpanLink, ...] = ()
        if root:
            known[at.SESSION] = self.run
        if root and not self._is_single:
            links = (SpanLink(trace_id(self.run), self._run_span, {at.LINK: "run"}),)
        if of_run is not None and not task.life:
            start = min(start, self._since)
        if self._content is not None:
            known |= self._content.values(task.inputs, event.output)
            self._content.close(task.id)
        fault = event.fault
        return task.make(
            task.span, task.above, f"invoke_workflow {name}", start, end, known, links=links,
            events=() if of_run is None else tuple(self._moments),
            error=fault.kind if fault is not None else "failed" if event.state == "failed" else "",
            message=fault.message if fault is not None else "",
        )  # fmt: skip

    # Moments

    def _note(self, seq: int, event: Any) -> None:
        """Add the moment of an event to the span of its step, or of the run."""
        timeline = RunTimeline()
        timeline.apply(seq, event)
        if not timeline or timeline[0].kind in _SPANS:
            return
        entry = timeline[0]
        task = self._tasks.get(entry.task)
        step = task.steps.get(entry.step) if task is not None else None
        if (entry.step and step is None) or (step is not None and step.over):
            return
        moments = self._moments if step is None else step.moments
        if len(moments) < MOST_MOMENTS:
            shown = self._content is not None or entry.kind not in _CONTENT
            moments.append(SpanEvent(entry.at, entry.kind, {at.TEXT: entry.text} if shown else {}))


def _reopen(seq: int, task: OpenTask, event: ev.StepReopened) -> None:
    """Begin another life of each step that runs again, and of the items of such a step."""
    for key, before in reopened_steps(event).items():
        if key not in task.steps:
            task.begin(StepView(key, task.agent_totals(key), before, event.at), seq, event.at)
    for step in list(task.steps.values()):
        if follow(step.view, event) is not None:
            task.begin(step.view, seq, event.at)
