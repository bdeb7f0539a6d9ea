"""The spans of the steps inside attempts: nodes of a framework's graph, calls of models and of tools."""

from __future__ import annotations

from collections.abc import Iterator

from agentdeck.scheduler import events as ev
from agentdeck.telemetry import attributes as at
from agentdeck.telemetry.content import Content
from agentdeck.telemetry.open_task import InnerAttempt, OpenTask
from agentdeck.telemetry.span import Span, Value
from agentdeck.telemetry.usage_attributes import used
from agentdeck.trace_ids import span_id

#: Inner steps of one attempt that have a span; the others are counted on the span of the attempt.
MOST = 1000
#: By the word that a framework's adapter uses: the operation, and the kind of OpenInference.
_KINDS = {"model": ("chat", "LLM"), "tool": ("execute_tool", "TOOL"), "agent": ("invoke_agent", "AGENT")}


class InnerSpans:
    """Makes the span of an inner step when it ends, or its attempt does."""

    def __init__(self, content: Content | None) -> None:
        self._content = content

    def apply(self, task: OpenTask, event: ev.InnerStarted | ev.InnerEnded) -> Iterator[Span]:
        """The span that the event ended."""
        inside = task.inside_of.get(event.step)
        if inside is None or inside.attempt != event.attempt:
            inside = task.inside_of[event.step] = InnerAttempt(event.attempt)
        if isinstance(event, ev.InnerStarted):
            inside.count += 1
            if inside.count <= MOST:
                inside.started[event.inner] = event if self._content is not None else event._replace(inputs=None)
            return
        started = inside.started.pop(event.inner, None)
        if started is not None:
            yield self._span(task, started, event.at, event)
            if (usage := event.usage) is not None:
                inside.tokens_in += usage.tokens_in or 0
                inside.tokens_out += usage.tokens_out or 0
                inside.cached_in += usage.cached_in or 0
                inside.usd += usage.usd or 0.0

    def end(self, task: OpenTask, step: str, attempt: int, at_: float) -> tuple[list[Span], InnerAttempt | None]:
        """The spans of the inner steps that end with their attempt, and what the others used."""
        inside = task.inside_of.pop(step, None)
        if inside is None or inside.attempt != attempt:
            return [], None
        left = sorted(inside.started.values(), key=lambda started: -started.inner)
        return [self._span(task, started, at_, None) for started in left], inside

    def _span(self, task: OpenTask, started: ev.InnerStarted, end: float, ended: ev.InnerEnded | None) -> Span:
        operation, kind = _KINDS.get(started.kind, ("", "CHAIN"))
        known: dict[str, Value] = {
            at.KIND: kind, at.TASK: task.id, at.STEP: started.step, at.ATTEMPT: started.attempt,
            at.INNER: started.name,
        }  # fmt: skip
        usage = ended.usage if ended is not None else None
        if operation:
            known[at.OPERATION] = operation
        if kind == "LLM" and usage is not None and usage.model:
            known[at.REQUEST_MODEL] = known[at.MODEL] = usage.model
        if kind == "TOOL":
            known |= {at.TOOL: started.name, at.TOOL_TYPE: "function"}
        if kind == "AGENT":
            known[at.AGENT] = started.name
        if usage is not None:
            known |= used(usage)
        if self._content is not None:
            known |= self._content.values(started.inputs, ended.output if ended is not None else None)
        fault = ended.fault if ended is not None else None
        name = str(known.get(at.REQUEST_MODEL, started.name))
        return task.make(
            inner_span(task, started.step, started.attempt, started.inner), self._around(task, started),
            f"{operation} {name}".strip(), started.at, end, known,
            error=fault.kind if fault is not None else "", message=fault.message if fault is not None else "",
            client=kind == "LLM",
        )  # fmt: skip

    def _around(self, task: OpenTask, started: ev.InnerStarted) -> str:
        """The span of the inner step around it, else of its attempt. What is around it began before, so it has a
        span, too."""
        if started.parent:
            return inner_span(task, started.step, started.attempt, started.parent)
        return task.attempt_span(started.step, started.attempt)


def inner_span(task: OpenTask, step: str, attempt: int, number: int) -> str:
    return span_id(task.run, task.id, step, attempt, "inner", number)
