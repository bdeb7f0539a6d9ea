"""The spans of an attempt that has ended: the attempt, the requests to a model, the calls of tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.telemetry import attributes as at
from agentdeck.telemetry.content import Content
from agentdeck.telemetry.inner_spans import InnerSpans
from agentdeck.telemetry.open_task import InnerAttempt, OpenStep, OpenTask
from agentdeck.telemetry.span import Span, Value
from agentdeck.telemetry.tool_log import ToolCall
from agentdeck.telemetry.usage_attributes import used
from agentdeck.trace_ids import span_id
from agentdeck.workflow.model import Agent, Prompt


class Calls(Protocol):
    """Knows the calls of tools in attempts."""

    def take(self, task: str, step: str, attempt: int, at: float) -> list[ToolCall]: ...


class Model(NamedTuple):
    """A model of the deck: its provider's type, and the id that the provider knows it by."""

    provider: str
    id: str


class _Error(NamedTuple):
    """How an attempt failed; empty where it did not."""

    kind: str = ""
    message: str = ""


class AttemptSpans:
    """Makes the spans of attempts. `models` are those of the deck by name."""

    def __init__(self, models: Mapping[str, Model], calls: Calls | None, content: Content | None) -> None:
        self.inner = InnerSpans(content)
        self._models = models
        self._calls = calls
        self._content = content

    def spans(
        self, task: OpenTask, step: OpenStep, started: ev.StepStarted, event: Any, outcome: str
    ) -> Iterator[Span]:
        """The spans of an attempt that the event ended."""
        usage: ev.Usage | None = getattr(event, "usage", None)
        fault: Fault | None = event.fault if isinstance(event, ev.AttemptFailed | ev.StepFailed) else None
        error = _Error()
        if fault is not None:
            error = _Error(fault.kind, fault.message)
        elif outcome == "lost":
            error = _Error("lost", "the process that executed the attempt died")
        known = _facts(task, started, event, outcome, fault)
        if step.view.worker:
            known[at.WORKER] = step.view.worker
        spans, inside = self.inner.end(task, started.step, started.attempt, event.at)
        yield from spans
        agent = task.agent(started.agent)
        asks = (agent is not None and isinstance(agent.does, Prompt)) or (usage is not None and usage.model != "")
        if inside is not None:
            known[at.INNER_COUNT] = inside.count
            if usage is not None:
                known |= used(_rest(usage, inside))
        elif asks and at.REUSED not in known:
            yield from self._chats(task, started, event, usage, error, agent)
        elif usage is not None:
            known |= used(usage)
        yield task.make(
            task.attempt_span(started.step, started.attempt), task.around(step), f"attempt {started.attempt}",
            started.at, event.at, known, error=error.kind, message=error.message,
        )  # fmt: skip

    def _chats(
        self,
        task: OpenTask,
        started: ev.StepStarted,
        event: Any,
        usage: ev.Usage | None,
        error: _Error,
        agent: Agent | None,
    ) -> Iterator[Span]:
        """The requests of an attempt, and the calls of tools between them. The log has one usage for all requests
        of an attempt: the last one has it, with the number of requests."""
        key = started.task, started.step, started.attempt
        parent = task.attempt_span(started.step, started.attempt)
        calls = self._calls.take(*key, event.at) if self._calls is not None else []
        known = self._request(started, usage) | _asked(agent)
        name = f"chat {known.get(at.REQUEST_MODEL, '')}".rstrip()
        since, requests = started.at, 1
        for number, call in enumerate(calls, 1):
            if call.start > since:
                span = span_id(task.run, *key, "chat", requests)
                yield task.make(span, parent, name, since, call.start, known, client=True)
                requests += 1
            yield self._tool(task, span_id(task.run, *key, "tool", number), parent, call, event.at)
            since = event.at if call.end is None else call.end
        if usage is not None:
            known |= used(usage)
        if requests > 1:
            known[at.REQUESTS] = requests
        if self._content is not None:
            known |= self._content.messages(*key, getattr(event, "output", None))
        yield task.make(
            span_id(task.run, *key, "chat", requests), parent, name, min(since, event.at), event.at, known,
            error=error.kind, message=error.message, client=True,
        )  # fmt: skip

    def _request(self, started: ev.StepStarted, usage: ev.Usage | None) -> dict[str, Value]:
        known: dict[str, Value] = {at.OPERATION: "chat", at.KIND: "LLM", at.AGENT: started.agent}
        name = (usage.model if usage is not None else "") or started.model
        if name:
            known[at.MODEL] = known[at.REQUEST_MODEL] = name
        if (model := self._models.get(name)) is not None:
            known |= {at.REQUEST_MODEL: model.id, at.PROVIDER: model.provider}
        elif usage is not None and usage.simulated:
            known[at.PROVIDER] = "simulated"
        return known

    def _tool(self, task: OpenTask, span: str, parent: str, call: ToolCall, ended: float) -> Span:
        known: dict[str, Value] = {
            at.OPERATION: "execute_tool",
            at.KIND: "TOOL",
            at.TOOL: call.name,
            at.TOOL_TYPE: "function",
        }
        if self._content is not None:
            known |= {at.TOOL_ARGUMENTS: call.arguments, at.TOOL_RESULT: call.result}
        end = ended if call.end is None else call.end
        error = "tool_error" if call.failed else ""
        return task.make(span, parent, f"execute_tool {call.name}", call.start, end, known, error=error)


def _rest(usage: ev.Usage, inside: InnerAttempt) -> ev.Usage:
    """What an attempt used beyond its inner steps, whose spans have that: receivers add up all spans."""
    return usage._replace(
        tokens_in=_beyond(usage.tokens_in, inside.tokens_in),
        tokens_out=_beyond(usage.tokens_out, inside.tokens_out),
        cached_in=_beyond(usage.cached_in, inside.cached_in),
        usd=None if usage.usd is None else max(0.0, usage.usd - inside.usd) or None,
    )


def _beyond(whole: int | None, part: int) -> int | None:
    return None if whole is None else max(0, whole - part) or None


def _asked(agent: Agent | None) -> dict[str, Value]:
    """What the workflow says about the requests of a prompt."""
    if agent is None or not isinstance(agent.does, Prompt):
        return {}
    known: dict[str, Value] = {at.OUTPUT_KIND: "json" if agent.output else "text"}
    if agent.does.temperature is not None:
        known[at.TEMPERATURE] = agent.does.temperature
    if agent.does.max_output is not None:
        known[at.MAX_TOKENS] = agent.does.max_output
    return known


def _facts(
    task: OpenTask, started: ev.StepStarted, event: Any, outcome: str, fault: Fault | None
) -> dict[str, Value]:
    """What is known of an attempt, without what has its default."""
    optional: dict[str, Value] = {
        at.TIER_UP: started.tier_up,
        at.EASED: started.eased,
        at.INPUT_BYTES: getattr(event, "input_bytes", 0),
        at.REUSED: getattr(event, "reused", False),
        at.CLOCK: fault.clock if fault is not None else "",
    }
    known: dict[str, Value] = {
        at.KIND: "CHAIN",
        at.AGENT: started.agent,
        at.TASK: task.id,
        at.STEP: started.step,
        at.ATTEMPT: started.attempt,
        at.ATTEMPT_STATE: outcome,
    }
    return known | {name: value for name, value in optional.items() if value}
