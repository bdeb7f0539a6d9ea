"""OpenAI Agents SDK: agents. Agents, requests to models, calls of tools and hand-offs are inner steps; tools that
need an approval are questions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from agentdeck.agents.frameworks import saved_state
from agentdeck.agents.frameworks.framework import (
    Asked,
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


class OpenAIAgents(Framework):
    """Agents, called with one text. All values are the context of the call, which tools can read. The SDK's own
    tracing is off: by default it uploads what agents say."""

    def recognises(self, found: object) -> bool:
        return is_a(found, "agents", "Agent") and hasattr(found, "handoffs") and hasattr(found, "model_settings")

    async def call(self, found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        from agents import Runner

        saved = await saved_state.answered(given)
        state = await _resumed(found, saved, given) if saved else None
        call = _Call()
        run = Runner.run_streamed(
            found,
            text_of(given.values) if state is None else state,
            context=given.values,
            hooks=call.hooks(),
            run_config=_configuration(found),
        )
        call.seen = _counts(run.context_wrapper.usage)  # a resumed run goes on counting
        reading = asyncio.ensure_future(call.read(run))
        try:
            while (event := await call.events.get()) is not None:
                yield event
            await reading
        except Exception as error:
            for ended in call.failed(error):
                yield ended
            for used in call.unseen(run.context_wrapper.usage):
                yield used
            raise
        finally:
            run.cancel()  # ends its tasks; nothing where it has ended
            reading.cancel()
            await asyncio.wait([task for task in (reading, run.run_loop_task) if task is not None])
        for used in call.unseen(run.context_wrapper.usage):
            yield used
        if not run.interruptions:
            if saved:
                await saved_state.drop(given)
            yield Result(run.final_output)
            return
        await saved_state.save(given, run.to_state().to_string())
        for item in run.interruptions:
            yield _question(item)


def _configuration(agent: Any) -> Any:
    from agents import ModelSettings, RunConfig

    counted = agent.model_settings.include_usage
    settings = ModelSettings(include_usage=True) if counted is None else None
    return RunConfig(tracing_disabled=True, model_settings=settings)


class _Call:
    """What happens inside one call. Hooks say when something starts and ends, the stream has the text; a request
    to a model ends with the last event of its stream."""

    def __init__(self) -> None:
        #: None after the last one.
        self.events = asyncio.Queue[InnerEvent | None]()
        #: The tokens in, out and in from the cache that are known already.
        self.seen = [0, 0, 0]
        self._requests = 0
        self._answered = 0
        self._up_to_date = asyncio.Event()
        self._agents = 0
        self._agent = ""
        self._open = dict[str, str]()

    async def read(self, run: Any) -> None:
        """Read the stream of a run to its end. Raises what the run raises."""
        try:
            async for event in run.stream_events():
                if event.type == "raw_response_event":
                    self._model_said(event.data)
        finally:
            self.events.put_nowait(None)

    def failed(self, error: Exception) -> list[Ended]:
        """What was going on when the run failed: the tool that the error is about, else all that was open."""
        name = _described(error)
        tools = [inner for inner, tool in self._open.items() if f"tool {tool}:" in name]
        last = list(reversed(self._open))
        return [Ended(inner, error=name) for inner in last if not tools or inner in (*tools, self._agent)]

    def unseen(self, usage: Any) -> list[Used]:
        """What agents used that were called as tools."""
        more = [max(0, now - seen) for now, seen in zip(_counts(usage), self.seen, strict=True)]
        return [Used("", "", *more)] if any(more) else []

    def _model_said(self, event: Any) -> None:
        inner = f"request {self._answered + 1}"
        if event.type == "response.output_text.delta":
            self.events.put_nowait(Text(inner, event.delta))
        elif event.type == "response.completed":
            self._answered += 1
            self._up_to_date.set()
            response = event.response
            counts: list[int | None] = [None, None, None]
            if response.usage is not None and response.usage.total_tokens:
                counts = [*_counts(response.usage)]
                self.seen = [before + (now or 0) for before, now in zip(self.seen, counts, strict=True)]
            self.events.put_nowait(Used(inner, response.model or "", *counts))
            self._end(inner, _output(response.output))

    def _start(self, inner: str, parent: str, name: str, kind: str, given: Any = None) -> None:
        self._open[inner] = name
        self.events.put_nowait(Started(inner, parent, name, kind, given))

    def _end(self, inner: str, output: Any = None) -> None:
        if self._open.pop(inner, None) is not None:
            self.events.put_nowait(Ended(inner, output))

    def hooks(self) -> Any:
        """Hooks of the SDK that note what starts and ends."""
        from agents import RunHooks

        call = self

        class Hooks(RunHooks[Any]):
            async def on_agent_start(self, context: Any, agent: Any) -> None:
                call._agents += 1
                call._agent = f"agent {call._agents}"
                call._start(call._agent, "", agent.name, "agent")

            async def on_agent_end(self, context: Any, agent: Any, output: Any) -> None:
                call._end(call._agent, output)

            async def on_handoff(self, context: Any, from_agent: Any, to_agent: Any) -> None:
                inner = f"hand-off {call._agents}"
                call._start(inner, call._agent, to_agent.name, "handoff")
                call._end(inner)
                call._end(call._agent, {"handed off to": to_agent.name})

            async def on_llm_start(self, context: Any, agent: Any, system_prompt: Any, input_items: Any) -> None:
                call._requests += 1
                call._up_to_date.clear()
                newest = input_items[-1] if input_items else {}
                asked = newest.get("content", newest.get("output"))
                call._start(f"request {call._requests}", call._agent, _model_name(agent), "model", asked)

            async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
                await call._up_to_date.wait()  # what is in the stream comes before what the agent does next

            async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
                arguments = _parsed(getattr(context, "tool_arguments", None))
                call._start(_tool_call(context, tool), call._agent, tool.name, "tool", arguments)

            async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
                call._end(_tool_call(context, tool), result)

        return Hooks()


def _counts(usage: Any) -> list[int]:
    return [usage.input_tokens, usage.output_tokens, usage.input_tokens_details.cached_tokens or 0]


def _tool_call(context: Any, tool: Any) -> str:
    return str(getattr(context, "tool_call_id", None) or tool.name)


def _model_name(agent: Any) -> str:
    if agent.model is None:
        from agents.models import get_default_model

        return get_default_model()
    return str(
        agent.model if isinstance(agent.model, str) else getattr(agent.model, "model", type(agent.model).__name__)
    )


def _output(items: list[Any]) -> Any:
    """What a model has answered: texts, and the tools that it calls."""
    made: list[Any] = []
    for item in items:
        if item.type == "message":
            made += [part.text for part in item.content if part.type == "output_text"]
        elif item.type == "function_call":
            made.append({"tool": item.name, "arguments": _parsed(item.arguments)})
    return made[0] if len(made) == 1 else made


def _parsed(arguments: Any) -> Any:
    try:
        return json.loads(arguments)
    except (TypeError, ValueError):
        return arguments


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


# Questions


def _question(item: Any) -> Asked:
    shown = {"agent": item.agent.name, "tool": item.tool_name, "arguments": _parsed(item.arguments)}
    text = f"May {item.agent.name} call {item.tool_name}?"
    return Asked(str(item.call_id), text, {"type": "boolean"}, shown)


async def _resumed(agent: Any, saved: str, given: CallInput) -> Any:
    """The state at the questions, with the answers."""
    from agents import RunState

    state = await RunState.from_string(agent, saved, context_override=given.values)
    for item in state.get_interruptions():
        if given.answers.get(str(item.call_id)):
            state.approve(item)
        else:
            state.reject(item)
    return state
