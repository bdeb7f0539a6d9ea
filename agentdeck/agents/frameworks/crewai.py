"""CrewAI: crews, flows and single agents. Tasks, agents, calls of models and of tools are inner steps; what a
human is to say is a question."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from importlib.util import find_spec
from typing import Any

from agentdeck.agents.frameworks.crewai_questions import Paused, Questions, State
from agentdeck.agents.frameworks.framework import (
    CallInput,
    Ended,
    Framework,
    InnerEvent,
    Result,
    Started,
    Text,
    Used,
    is_a,
    text_of,
)

#: With these, CrewAI sends nothing to its makers.
SILENT = {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false"}
#: The beginnings of CrewAI's events that become inner steps, with the kind of step and the attribute that names
#: it. What happens inside of others, such as the flow that executes an agent, belongs to the step around it.
SHOWN = {
    "crew_kickoff": ("crew", "crew_name"),
    "task": ("task", "task_name"),
    "agent_execution": ("agent", "agent_role"),
    "lite_agent_execution": ("agent", "agent_role"),
    "llm_call": ("model", "model"),
    "tool_usage": ("tool", "tool_name"),
    "mcp_tool_execution": ("tool", "tool_name"),
    "method_execution": ("method", "method_name"),
    "flow": ("flow", "flow_name"),
    "llm_guardrail": ("guardrail", "guardrail_name"),
    "agent_reasoning": ("reasoning", "agent_role"),
    "a2a_delegation": ("agent", "agent_role"),
}
INPUTS = ("inputs", "context", "task_prompt", "messages", "tool_args", "params")
OUTPUTS = ("output", "response", "result")
#: Seconds that a cancelled call gets to end by itself, before its thread is left behind.
GRACE = 0.3


class CrewAI(Framework):
    """Crews and flows get all values as their inputs, an agent gets one text."""

    def prepare_interpreter(self) -> None:
        if find_spec("crewai") is not None:
            for name, value in SILENT.items():
                os.environ.setdefault(name, value)

    def recognises(self, found: object) -> bool:
        return any(is_a(found, "crewai", name) for name in ("Crew", "Flow", "Agent"))

    def alone(self, found: Any) -> bool:
        return True

    async def call(self, found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        if given.checkpoints:
            os.environ.setdefault("CREWAI_STORAGE_DIR", f"{given.checkpoints}-crewai")
        state = await State.load(given)
        if state.waits_for_another(given.answers):
            yield state.asked()
            return
        events = asyncio.Queue[InnerEvent | None]()
        call = _Call(found, given, state, events.put_nowait)
        work = asyncio.ensure_future(given.in_thread(call.run))
        work.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            result = work.result()
            if call.paused:
                await state.save(given)
                yield state.asked()
                return
            await state.drop(given)
            yield Result(result)
        finally:
            await _end(call, work)


async def _end(call: _Call, work: asyncio.Future[Any]) -> None:
    """Stop a call that was cancelled. CrewAI calls models and tools in threads, which end at its next event."""
    if not work.done():
        call.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([work], timeout=GRACE)
        work.cancel()
    await asyncio.gather(work, return_exceptions=True)


class _Stopped(BaseException):
    """The call was cancelled. CrewAI retries what raises an Exception."""


class _Call:
    """One call of an object, in a thread with an event loop of its own: CrewAI blocks the loop that it runs on.
    `publish` takes the events, on the loop on which this object was made."""

    def __init__(self, found: Any, given: CallInput, state: State, publish: Callable[[InnerEvent], None]) -> None:
        self._found = found
        self._given = given
        self._state = state
        self._publish = publish
        self._outer = asyncio.get_running_loop()
        self._steps = InnerSteps(bool(state.flow))
        self._lock = threading.Lock()
        self._stopped = False
        self._stop: Callable[[], object] = lambda: None
        #: Whether there is a question, and no result.
        self.paused = False

    def run(self) -> Any:
        """The result; None where it is `paused`."""
        try:
            return asyncio.run(self._run())
        except Paused:
            self.paused = True
        return None

    def stop(self) -> None:
        """End the call, from another thread: at once where it awaits something, else at CrewAI's next event."""
        with self._lock:
            self._stopped = True
            self._stop()

    async def _run(self) -> Any:
        from crewai.events.listeners.tracing.utils import set_tui_mode
        from crewai.events.stream_context import add_stream_sink

        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with self._lock:
            if self._stopped:
                raise _Stopped
            self._stop = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            add_stream_sink(self._sink)
            set_tui_mode(True)  # otherwise each method of a flow prints panels about its progress
            questions = Questions(self._state, self._given)
            questions.install()
            return await self._start(questions)
        finally:
            with self._lock:
                self._stop = lambda: None

    def _start(self, questions: Questions) -> Awaitable[Any]:
        from crewai import Crew
        from crewai.flow.flow import Flow

        found, values = self._found, dict(self._given.values)
        if isinstance(found, Flow):
            return questions.run_flow(found, values)
        if isinstance(found, Crew):
            return questions.run_crew(found, values)
        return _run_agent(found, text_of(values))

    def _sink(self, source: Any, event: Any) -> None:
        """Publish an event. CrewAI calls this in whichever thread emits it."""
        if self._stopped:
            raise _Stopped
        for inner in self._steps.convert(source, event):
            with contextlib.suppress(RuntimeError):  # the loop is closed: a thread that was left behind
                self._outer.call_soon_threadsafe(self._publish, inner)


async def _run_agent(agent: Any, text: str) -> Any:
    output = await agent.copy().kickoff_async(text)
    return output.raw if output.pydantic is None else output.pydantic


class InnerSteps:
    """The inner steps that CrewAI's events tell of. A flow that `resumes` begins with the method that asked for
    feedback, which is not executed again."""

    def __init__(self, resumes: bool) -> None:
        self._resumes = resumes
        self._lock = threading.Lock()
        #: The inner step that each beginning belongs to: its own, or the one around it.
        self._steps: dict[str, str] = {}
        self._calls: dict[str, str] = {}
        self._streamed = set[str]()

    def convert(self, source: Any, event: Any) -> list[InnerEvent]:
        with self._lock:
            begins, kind = event.type.endswith("_started"), event.type.rpartition("_")[0]
            if begins:
                return self._begin(source, event, kind)
            if event.started_event_id is not None:
                return self._end(event, kind)
            if event.type == "llm_stream_chunk" and event.call_id in self._calls:
                return self._chunk(event)
            return []

    def _begin(self, source: Any, event: Any, kind: str) -> list[InnerEvent]:
        parent = self._steps.get(event.parent_event_id or "", "")
        outermost = event.parent_event_id is None and kind in ("crew_kickoff", "flow")
        if kind not in SHOWN or outermost or _hidden(source):
            self._steps[event.event_id] = parent
            return []
        step = self._steps[event.event_id] = event.event_id
        if kind == "llm_call":
            self._calls[event.call_id] = step
        word, attribute = SHOWN[kind]
        if self._resumes and word == "method":
            self._resumes, word = False, "feedback"
        return [Started(step, parent, _name(event, attribute) or word, word, _first(event, INPUTS))]

    def _chunk(self, event: Any) -> list[InnerEvent]:
        step = self._calls[event.call_id]
        self._streamed.add(step)
        return [Text(step, event.chunk)] if event.chunk and event.tool_call is None else []

    def _end(self, event: Any, kind: str) -> list[InnerEvent]:
        step = self._steps.pop(event.started_event_id, "")
        if step != event.started_event_id:
            return []
        events = list[InnerEvent]()
        if event.type == "llm_call_completed":
            events = self._completed(event, step)
        error = getattr(event, "error", None)
        output = None if error else _plain(_first(event, OUTPUTS))
        return [*events, Ended(step, output, str(error) if error else "")]

    def _completed(self, event: Any, step: str) -> list[InnerEvent]:
        """The text of a model that does not stream, and what the call used."""
        self._calls.pop(event.call_id, None)
        events = list[InnerEvent]()
        if step not in self._streamed and isinstance(event.response, str):
            events.append(Text(step, event.response))
        self._streamed.discard(step)
        return [*events, Used(step, event.model or "", *_tokens(event.usage))]


def _hidden(source: Any) -> bool:
    """Whether a flow is one with which CrewAI itself works."""
    return bool(getattr(type(source), "is_crewai_internal", False))


def _name(event: Any, attribute: str) -> str:
    name = getattr(event, attribute, None)
    if attribute == "agent_role":  # not every event has it itself
        name = name or getattr(getattr(event, "agent", None), "role", None)
        name = name or (getattr(event, "agent_info", None) or {}).get("role")
    return str(name or "").strip()


def _first(event: Any, names: tuple[str, ...]) -> Any:
    """The first of these attributes that is not empty."""
    return next((value for name in names if (value := getattr(event, name, None))), None)


def _plain(output: Any) -> Any:
    """The output of a task or crew without its messages."""
    return output.raw if isinstance(getattr(output, "raw", None), str) else output


def _tokens(usage: Any) -> tuple[int | None, int | None, int | None]:
    """Tokens in, out and from the cache: each provider names them in its own way."""
    from crewai.types.usage_metrics import UsageMetrics

    found = UsageMetrics.from_provider_dict(usage)
    if found is None:
        return None, None, None
    return found.prompt_tokens, found.completion_tokens, found.cached_prompt_tokens
