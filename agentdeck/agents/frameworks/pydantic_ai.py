"""pydantic-ai: agents. Requests to models and calls of tools are inner steps; tools that need an approval, or a
result from outside, are questions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Executor, Future
from contextlib import aclosing
from functools import partial
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

#: The value that becomes the dependencies of an agent that has some.
DEPENDENCIES = "deps"


class PydanticAI(Framework):
    """Agents, called with one text. A value `deps` becomes the dependencies of an agent that has some."""

    def recognises(self, found: object) -> bool:
        return is_a(found, "pydantic_ai", "AbstractAgent")

    async def call(self, found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        from pydantic_ai.tools import DeferredToolRequests

        options = {**_begin(found, given), **await _resume(given)}
        call = _Call()
        with found.using_thread_executor(_Threads(given.in_thread)):
            async with found.iter(**options, capabilities=[call.hooks()]) as run:
                try:
                    async for node in run:
                        async with aclosing(call.node(found, run, node)) as events:
                            async for event in events:
                                yield event
                except Exception as error:
                    for ended in call.failed(error):
                        yield ended
                    raise
                for used in call.unseen(run.usage):
                    yield used
        output = run.result.output
        if not isinstance(output, DeferredToolRequests):
            if given.answers:
                await saved_state.drop(given)
            yield Result(output)
            return
        await saved_state.save(given, _state(run.result, output))
        for asked in _questions(found, output):
            yield asked


def _begin(agent: Any, given: CallInput) -> dict[str, Any]:
    """The arguments of a call. An agent that defers tools gives them as a result only if its output type says so;
    where it does not, it is called with one that does."""
    from pydantic import TypeAdapter
    from pydantic_ai.tools import DeferredToolRequests

    values, options = dict(given.values), dict[str, Any]()
    if agent.deps_type is not type(None) and DEPENDENCIES in values:
        options["deps"] = TypeAdapter(agent.deps_type).validate_python(values.pop(DEPENDENCIES))
    declared = agent.output_type if isinstance(agent.output_type, list | tuple) else [agent.output_type]
    if DeferredToolRequests not in declared and not getattr(agent, "_output_validators", None):
        options["output_type"] = [*declared, DeferredToolRequests]
    return {**options, "user_prompt": text_of(values)}


class _Call:
    """What happens inside one call. Requests have ids of ours, tools those of their calls."""

    def __init__(self) -> None:
        self._number = 1
        self._request = ""
        self._streams = False
        self._open = set[str]()
        self._faults = dict[str, str]()
        self._seen = [0, 0, 0]

    def hooks(self) -> Any:
        """Notes which of several tools has raised an exception."""
        from pydantic_ai.capabilities import Hooks

        def failed(context: Any, *, call: Any, tool_def: Any, args: Any, error: Exception) -> Any:
            self._faults[call.tool_call_id] = _described(error)
            raise error

        hooks: Any = Hooks()
        hooks.on.tool_execute_error(failed)
        return hooks

    async def node(self, agent: Any, run: Any, node: Any) -> AsyncGenerator[InnerEvent, None]:
        """What happens in a node of the agent's graph, from the time when it is to run."""
        if agent.is_model_request_node(node):
            if self._request in self._open:  # the agent's own hooks have rejected the answer
                yield self._end(self._request)
            self._request = f"request {self._number}"
            self._number += 1
            yield self._start(self._request, run.ctx.deps.model.model_name, "model", _newest(node.request))
            self._streams = _streams(run.ctx.deps.model)
            if self._streams:
                async with node.stream(run.ctx) as events:
                    async for event in events:
                        if delta := _text(event):
                            yield Text(self._request, delta)
        elif agent.is_call_tools_node(node):
            for event in self._answered(node.model_response):
                yield event
            async with node.stream(run.ctx) as events:
                async for event in events:
                    for inner in self._tool(event):
                        yield inner

    def failed(self, error: Exception) -> list[Ended]:
        """What was going on when the call failed: the tools that failed, else all of it."""
        known = {inner: self._faults[inner] for inner in self._open if inner in self._faults}
        faults = known or dict.fromkeys(self._open, _described(error))
        return [Ended(inner, error=fault) for inner, fault in faults.items()]

    def unseen(self, usage: Any) -> list[Used]:
        """What other agents used that tools have called with the usage of this one."""
        counts = [usage.input_tokens, usage.output_tokens, usage.cache_read_tokens]
        more = [max(0, now - seen) for now, seen in zip(counts, self._seen, strict=True)]
        return [Used("", "", *more)] if any(more) else []

    def _start(self, inner: str, name: str, kind: str, given: Any) -> Started:
        self._open.add(inner)
        return Started(inner, "", name, kind, given)

    def _end(self, inner: str, output: Any = None, error: str = "") -> Ended:
        self._open.discard(inner)
        return Ended(inner, output, error)

    def _answered(self, response: Any) -> list[InnerEvent]:
        inner, usage, events = self._request, response.usage, list[InnerEvent]()
        if inner not in self._open:  # the response is that of the call before this one, which deferred tools
            return []
        if not self._streams and response.text:
            events.append(Text(inner, response.text))
        counts: list[int | None] = [None, None, None]
        if usage.has_values():
            counts = [usage.input_tokens, usage.output_tokens, usage.cache_read_tokens]
            self._seen = [before + (now or 0) for before, now in zip(self._seen, counts, strict=True)]
        output = [_part(part) for part in response.parts if part.part_kind in ("text", "tool-call")]
        ended = self._end(inner, output[0] if len(output) == 1 else output)
        return [*events, Used(inner, response.model_name or "", *counts), ended]

    def _tool(self, event: Any) -> list[InnerEvent]:
        if event.event_kind == "function_tool_call":
            return [self._start(event.tool_call_id, event.part.tool_name, "tool", event.part.args)]
        if event.event_kind == "function_tool_result" and event.tool_call_id in self._open:
            part = event.part
            if part.outcome in ("failed", "retried"):
                return [self._end(event.tool_call_id, error=str(part.content))]
            return [self._end(event.tool_call_id, part.content)]
        return []


def _streams(model: Any) -> bool:
    """Whether a model can stream. Those that cannot do so, such as a FunctionModel of one plain function, are
    called without."""
    from pydantic_ai.models import Model

    while hasattr(model, "wrapped"):
        model = model.wrapped
    return (
        type(model).request_stream is not Model.request_stream
        and getattr(model, "stream_function", True) is not None
    )


def _newest(request: Any) -> Any:
    """The content of the last part of a request."""
    return getattr(request.parts[-1], "content", None) if request.parts else None


def _text(event: Any) -> str:
    if event.event_kind == "part_start" and event.part.part_kind == "text":
        return str(event.part.content)
    if event.event_kind == "part_delta" and event.delta.part_delta_kind == "text":
        return str(event.delta.content_delta)
    return ""


def _part(part: Any) -> Any:
    return part.content if part.part_kind == "text" else {"tool": part.tool_name, "arguments": part.args}


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


# Questions


def _questions(agent: Any, requests: Any) -> list[Asked]:
    """A question for each tool that waits: may it be called, or what is its result?"""
    name = agent.name or "the agent"
    asked = [
        Asked(
            call.tool_call_id, f"May {name} call {call.tool_name}?", {"type": "boolean"}, _shows(call, requests)
        )
        for call in requests.approvals
    ]
    for call in requests.calls:
        text = f"{name} has called {call.tool_name}: what is the result?"
        asked.append(Asked(call.tool_call_id, text, None, _shows(call, requests)))
    return asked


def _shows(call: Any, requests: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"tool": call.tool_name, "arguments": call.args_as_dict()}
    metadata = requests.metadata.get(call.tool_call_id)
    return {**shown, "metadata": metadata} if metadata else shown


def _state(result: Any, requests: Any) -> str:
    approvals = [call.tool_call_id for call in requests.approvals]
    messages = result.all_messages_json().decode()
    return json.dumps({"messages": messages, "approvals": approvals, "metadata": requests.metadata}, default=str)


async def _resume(given: CallInput) -> Mapping[str, Any]:
    """The arguments of a call that goes on with answers; none for one that begins."""
    saved = await saved_state.answered(given)
    if not saved:
        return {}
    from pydantic_ai.messages import ModelMessagesTypeAdapter
    from pydantic_ai.tools import DeferredToolResults

    state = json.loads(saved)
    results: Any = DeferredToolResults(metadata=state["metadata"])
    for asked, answer in given.answers.items():
        (results.approvals if asked in state["approvals"] else results.calls)[asked] = answer
    messages = ModelMessagesTypeAdapter.validate_json(state["messages"])
    return {"user_prompt": None, "message_history": messages, "deferred_tool_results": results}


# Threads


class _Threads(Executor):
    """Runs the plain functions of an agent in threads of the attempt, which can be left behind: by default, a
    cancellation waits until they end."""

    def __init__(self, in_thread: Callable[[Callable[[], Any]], Any]) -> None:
        self._in_thread = in_thread
        self._tasks = set[asyncio.Task[None]]()

    def submit(self, call: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        future = Future[Any]()
        task = asyncio.ensure_future(self._run(partial(call, *args, **options), future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        future.add_done_callback(lambda done: task.cancel() if done.cancelled() else None)
        return future

    async def _run(self, call: Callable[[], Any], future: Future[Any]) -> None:
        value, error = await self._in_thread(partial(_outcome, call))
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)


def _outcome(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """What a call returned, or what it raised: those are signals to the agent, such as ModelRetry."""
    try:
        return call(), None
    except BaseException as error:
        return None, error
