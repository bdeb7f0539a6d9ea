"""Graphs of LangGraph: their nodes and subgraphs as inner steps, their interrupts as questions."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from agentdeck.agents.frameworks.framework import (
    TEXT_NAMES,
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
)
from agentdeck.agents.frameworks.langchain import described, plain, shown, text_in, usage_of

if TYPE_CHECKING:
    from agentdeck.agents.frameworks.langgraph_saver import GroupSaver

MODES = ["tasks", "messages", "values", "custom"]
#: Names under which the value of an interrupt may have its question.
QUESTION_NAMES = ("question", "ask", "prompt", "message", "text", "title", "description")
#: Parts of the stream that may wait to be recorded; then the graph waits.
MOST_WAITING = 1_000
#: The id of the question at a breakpoint (`interrupt_before`, `interrupt_after`) begins with it.
BREAKPOINT = "breakpoint:"
NO_SAVER = (
    "the graph asks a question, but there is nothing in which its state could be kept until the answer: install "
    "langgraph-checkpoint-sqlite (pip install 'agentdeck[langgraph]'), or compile the graph with a checkpointer"
)


class LangGraph(Framework):
    """Compiled graphs (`StateGraph.compile()`, `create_agent`), and functions with `@entrypoint`."""

    def recognises(self, found: object) -> bool:
        return is_a(found, "langgraph", "Pregel")

    async def call(self, found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        async with _kept(found, given) as thread:
            start = await thread.start(given)
            run = _Run(start.ended_before)
            if start.goes_on:
                config = {**thread.config, "callbacks": [run.calls]}
                async with aclosing(_Ahead(thread.stream(start.value, config), run.calls.ended)) as parts:
                    async for part in parts:
                        for event in run.events_of(part):
                            if isinstance(event, Ended):
                                await thread.settle(hurry=parts.complete)
                            yield event
                if parts.error is not None:
                    for event in run.failed(parts.error):
                        yield event
                    raise parts.error
                await thread.settle()
            questions = start.asked or list(run.questions.values()) or await thread.breakpoint()
            if questions and not thread.config:
                raise RuntimeError(NO_SAVER)
            for question in questions:
                yield question
            if not questions:
                thread.end()
                yield Result(_data(run.output if start.goes_on else start.value))


# Where a graph was ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Start:
    """How a call begins: with an input, with answers, or where the call before it was. Unless it `goes_on`, the
    value is the result, or there are questions that were not answered."""

    value: Any = None
    goes_on: bool = True
    asked: list[Asked] = field(default_factory=list)
    ended_before: frozenset[str] = frozenset()


@asynccontextmanager
async def _kept(found: Any, given: CallInput) -> AsyncIterator[_Thread]:
    """The thread of a call: in the checkpointer of the graph if it has one, else in ours."""
    if found.checkpointer is not None or not given.checkpoints:
        yield _Thread(found, given.thread or uuid4().hex, found.checkpointer or None)
        return
    try:
        from agentdeck.agents.frameworks.langgraph_saver import open_saver
    except ImportError:
        yield _Thread(found, given.thread, None)
        return
    async with open_saver(given.checkpoints) as saver:
        try:
            yield _Thread(_with_saver(found, saver), given.thread, saver, saver)
        finally:
            saver.leave(given.thread)


#: Copies of graphs with a saver of ours, the last one of each graph. The graph itself stays as it is.
_copies: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def _with_saver(found: Any, saver: Any) -> Any:
    made = _copies.get(found)
    if made is None or made.checkpointer is not saver:
        made = _copies[found] = found.copy(update={"checkpointer": saver})
    return made


class _Thread:
    """One piece of work of a graph, by the id under which its checkpoints are. `ours` is the saver where it is
    agentdeck's."""

    def __init__(self, graph: Any, name: str, checkpointer: Any, ours: GroupSaver | None = None) -> None:
        self._graph = graph
        self._name = name
        self._checkpointer = checkpointer
        self._ours = ours
        self.config: dict[str, Any] = {"configurable": {"thread_id": name}} if checkpointer else {}

    def stream(self, value: Any, config: dict[str, Any]) -> AsyncGenerator[Any, None]:
        found: AsyncGenerator[Any, None] = self._graph.astream(
            value,
            config,
            stream_mode=MODES,
            subgraphs=True,
            version="v2",
            output_keys=self._graph.output_channels,
        )
        return found

    async def start(self, given: CallInput) -> _Start:
        if self._checkpointer and await self._last() is not None:
            state = await self._graph.aget_state(self.config, subgraphs=True)
            if state.next:
                return await self._resumed(state, given.answers)
            if self._ours:
                return _Start(await self._output(), goes_on=False)
            await self._checkpointer.adelete_thread(self._name)
        return _Start(_input(self._graph, given.values))

    async def _last(self) -> Any:
        if self._ours:
            return await self._ours.begin(self._name)
        return await self._checkpointer.aget_tuple(self.config)

    async def _resumed(self, state: Any, answers: Mapping[str, Any]) -> _Start:
        from langgraph.types import Command

        before = frozenset([task async for task in self._ended_in(state)])
        answered = {one.id: answers[one.id] for one in state.interrupts if one.id in answers}
        if answered:
            return _Start(Command(resume=answered), ended_before=before)
        if state.interrupts:
            asked = [_asked(one.id, one.value, one.response_schema) for one in state.interrupts]
            return _Start(goes_on=False, asked=asked)
        if answers.get(_breakpoint_id(state)) is False:
            raise RuntimeError(f"the answer at the breakpoint before {', '.join(state.next)} was no")
        return _Start(ended_before=before)

    async def _ended_in(self, state: Any) -> AsyncIterator[str]:
        """The ids of the tasks that have ended, in the graph and in its subgraphs: LangGraph reports that they
        start, but does not run them again."""
        from langgraph.checkpoint.base import WRITES_IDX_MAP

        found = await self._checkpointer.aget_tuple(state.config)
        for task, channel, _ in (found.pending_writes or ()) if found else ():
            if channel not in WRITES_IDX_MAP:
                yield task
        for task in state.tasks:
            if hasattr(task.state, "tasks"):
                async for inner in self._ended_in(task.state):
                    yield inner

    async def _output(self) -> Any:
        """What the graph that has ended gave."""
        async with aclosing(self.stream(None, self.config)) as parts:
            async for part in parts:
                if part["type"] == "values" and not part["ns"]:
                    return part["data"]
        return None

    async def breakpoint(self) -> list[Asked]:
        """The question whether to go on, where the graph has stopped at a breakpoint."""
        if not (self._graph.interrupt_before_nodes or self._graph.interrupt_after_nodes):
            return []
        if not self._checkpointer:
            raise RuntimeError(NO_SAVER)
        state = await self._graph.aget_state(self.config)
        if not state.next:
            return []
        return [Asked(_breakpoint_id(state), f"Go on with {', '.join(state.next)}?", {"type": "boolean"})]

    async def settle(self, *, hurry: bool = True) -> None:
        """Wait until the file has what happened so far: what is recorded as ended is not run again."""
        if self._ours:
            await self._ours.settle(hurry=hurry)

    def end(self) -> None:
        if self._ours:
            self._ours.end(self._name)


def _breakpoint_id(state: Any) -> str:
    return f"{BREAKPOINT}{state.config['configurable']['checkpoint_id']}"


class _Ahead:
    """The parts of a graph's stream, which goes on while its parts are recorded; among them what calls of models
    `used`. `error` is what the graph raised, when the parts have come to their end."""

    def __init__(self, stream: AsyncGenerator[Any, None], used: deque[Used]) -> None:
        self.error: Exception | None = None
        self._used = used
        self._parts: deque[Any] = deque()
        self._came, self._room = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._read(stream))
        self._task.add_done_callback(lambda _: self._came.set())

    async def _read(self, stream: AsyncGenerator[Any, None]) -> None:
        async with aclosing(stream):
            async for part in stream:
                self._take_used()
                self._parts.append(part)
                self._came.set()
                if len(self._parts) >= MOST_WAITING:
                    self._room.clear()
                    await self._room.wait()

    def _take_used(self) -> None:
        while self._used:
            self._parts.append(self._used.popleft())

    @property
    def complete(self) -> bool:
        return self._task.done()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            while self._parts:
                yield self._parts.popleft()
                self._room.set()
            if self._task.done():
                self._take_used()
                if not self._parts:
                    break
                continue
            self._came.clear()
            await self._came.wait()
        if self._task.cancelled():
            raise asyncio.CancelledError
        error = self._task.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        self.error = error

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()


# What happens in a graph ----------------------------------------------------------------------------------------


class _Run:
    """The events of one call. The id of an inner step is that of its task."""

    def __init__(self, ended_before: frozenset[str]) -> None:
        self.output: Any = None
        self.questions: dict[str, Asked] = {}
        self.calls = _model_calls()
        self._ended_before = ended_before
        self._open: dict[tuple[str, ...], dict[str, str]] = {}  # per graph the names of its running tasks
        self._message: dict[str, str] = {}  # per task the message of which it gave text last

    def events_of(self, part: Mapping[str, Any] | Used) -> Iterator[InnerEvent]:
        if isinstance(part, Used):
            yield part
            return
        what, place, data = part["type"], tuple(part["ns"]), part["data"]
        if what == "tasks":
            yield from self._ended(place, data) if "result" in data else self._started(place, data)
        elif what == "messages":
            yield from self._text(*data)
        elif what == "custom":
            running = self._open.get(place) or ()
            task = next(iter(running)) if len(running) == 1 else _task_of(place)
            yield Text(task, _line(data))
        elif not place:
            self.output = data

    def failed(self, error: Exception) -> Iterator[InnerEvent]:
        """The ends of the tasks in which the graph has failed, if they were not reported, innermost first."""
        notes = " ".join(getattr(error, "__notes__", ()))
        for _, running in sorted(self._open.items(), key=lambda item: -len(item[0])):
            for task in running:
                if task in notes:
                    yield Ended(task, error=described(error))

    def _started(self, place: tuple[str, ...], data: Mapping[str, Any]) -> Iterator[InnerEvent]:
        task = data["id"]
        if task not in self._ended_before:
            self._open.setdefault(place, {})[task] = data["name"]
            yield Started(task, _task_of(place), data["name"], "node", shown(_fields(data["input"])))

    def _ended(self, place: tuple[str, ...], data: Mapping[str, Any]) -> Iterator[InnerEvent]:
        task, error = data["id"], data["error"]
        running = self._open.get(place, {})
        running.pop(task, None)
        if not running:
            self._open.pop(place, None)
        self._message.pop(task, None)
        for one in data["interrupts"]:
            self.questions[one["id"]] = _asked(one["id"], one["value"], one.get("response_schema"))
        if error is not None:
            yield Ended(task, error=described(error) if isinstance(error, BaseException) else str(error))
        elif not data["interrupts"]:
            yield Ended(task, shown(data["result"]))

    def _text(self, message: Any, about: Mapping[str, Any]) -> Iterator[InnerEvent]:
        """The text of a model. Messages that a node has made itself are in its output."""
        if "ls_model_type" in about and (delta := text_in(message)):
            task = _task_of(str(about["langgraph_checkpoint_ns"]).split("|"))
            if self._message.setdefault(task, message.id) != message.id:
                self._message[task] = message.id
                delta = f"\n{delta}"
            yield Text(task, delta)


def _task_of(place: Sequence[str]) -> str:
    """The id of the task in which a graph runs, from the names of the tasks around it; empty for the outermost
    graph."""
    for segment in reversed(place):
        if ":" in segment:
            return segment.rpartition(":")[2]
    return ""


def _model_calls() -> Any:
    """A callback that collects what the calls of models used, by the task that made them. The stream has it for
    models that stream only, and not for those that a graph keeps out of it."""
    from langchain_core.callbacks import BaseCallbackHandler

    class ModelCalls(BaseCallbackHandler):
        run_inline = True
        ignore_chain = ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True

        def __init__(self) -> None:
            self.ended: deque[Used] = deque()
            self._open: dict[Any, tuple[str, str]] = {}

        def on_chat_model_start(
            self, serialized: Any, messages: Any, *, run_id: Any, metadata: Any = None, **more: Any
        ) -> None:
            about = metadata or {}
            task = _task_of(str(about.get("langgraph_checkpoint_ns", "")).split("|"))
            self._open[run_id] = task, str(about.get("ls_model_name") or about.get("ls_provider") or "")

        on_llm_start = on_chat_model_start  # type: ignore[assignment]

        def on_llm_end(self, response: Any, *, run_id: Any, **more: Any) -> None:
            task, model = self._open.pop(run_id, ("", ""))
            for answers in response.generations:
                message = getattr(answers[0], "message", None) if answers else None
                output = {"llm_output": response.llm_output} if message is None else message
                if (used := usage_of(task, model, output)) is not None:
                    self.ended.append(used)

        def on_llm_error(self, error: BaseException, *, run_id: Any, **more: Any) -> None:
            self._open.pop(run_id, None)

    return ModelCalls()


def _line(payload: Any) -> str:
    """What a node has written into the stream, as a line of text."""
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False, default=str)
    return text if text.endswith("\n") else f"{text}\n"


def _asked(key: str, value: Any, schema: Any) -> Asked:
    """The question of an interrupt. Of a map, one value is the question, and the others are what it shows."""
    if isinstance(value, str):
        return Asked(key, value, schema)
    value = plain(value)
    if isinstance(value, dict):
        for name in QUESTION_NAMES:
            if isinstance(value.get(name), str):
                rest = {other: one for other, one in value.items() if other != name}
                return Asked(key, value[name], schema, rest or None)
    return Asked(key, "The graph asks for a value", schema, value)


# Input and result -----------------------------------------------------------------------------------------------


def _input(graph: Any, values: Mapping[str, Any]) -> Any:
    """What a graph gets: the values as its state. Where the state has messages and none are given, the text is
    one. A graph without a state of fields gets the value named `input` if it is the only one, else the map."""
    from langchain_core.messages import HumanMessage

    channels = graph.channels
    if "__root__" in channels or not hasattr(graph, "builder"):
        return values["input"] if list(values) == ["input"] else dict(values)
    state = dict(values)
    if "messages" in channels and "messages" not in state:
        names = list(state) if len(state) == 1 else TEXT_NAMES
        for name in names:
            if name not in channels and isinstance(state.get(name), str):
                state["messages"] = [HumanMessage(state.pop(name))]
                break
    return state


def _data(state: Any) -> Any:
    return plain(_fields(state))


def _fields(state: Any) -> Any:
    """A state that is a pydantic model or a dataclass, as a map."""
    if is_dataclass(state) and not isinstance(state, type):
        return {one.name: getattr(state, one.name) for one in fields(state)}
    names = getattr(type(state), "model_fields", None)
    if isinstance(names, dict) and not hasattr(state, "content"):
        return {name: getattr(state, name) for name in names}
    return state
