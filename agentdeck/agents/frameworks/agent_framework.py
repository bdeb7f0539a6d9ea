"""Microsoft Agent Framework: workflows and agents. Executors and calls of tools are inner steps; what a workflow
requests from outside, and tools that need an approval, are questions."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints
from weakref import WeakKeyDictionary

from agentdeck.agents.frameworks import saved_state
from agentdeck.agents.frameworks.agent_framework_checkpoints import Checkpoints, restored, saved
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
from agentdeck.agents.frameworks.turns import WAITS, turn_of

PACKAGE = "agent_framework"
APPROVAL = "function_approval_request"
#: Where a request has its question, if it has one.
QUESTIONS = ("question", "prompt", "message", "text")


class AgentFramework(Framework):
    """Workflows, called with what their start executor takes, and agents, called with one text. A workflow holds
    the state of one run: each call begins where the first one began, and one object does one call at a time."""

    def __init__(self) -> None:
        self._first = WeakKeyDictionary[Any, Any]()

    def recognises(self, found: object) -> bool:
        names = ("Workflow", "FunctionalWorkflow", "FunctionalWorkflowDefinition", "BaseAgent")
        return any(is_a(found, PACKAGE, name) for name in names)

    def alone(self, found: Any) -> bool:
        return is_a(found, PACKAGE, "Workflow") or is_a(found, PACKAGE, "FunctionalWorkflow")

    async def call(self, found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        if is_a(found, PACKAGE, "BaseAgent"):
            async with aclosing(_agent(found, given)) as events:
                async for event in events:
                    yield event
            return
        workflow = found.build() if is_a(found, PACKAGE, "FunctionalWorkflowDefinition") else found
        turn = turn_of(workflow)
        if turn.locked():
            yield Text("", WAITS)
        async with turn, aclosing(self._workflow(workflow, given)) as events:
            async for event in events:
                yield event

    async def _workflow(self, found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        run, kept = _Run(), Checkpoints()
        try:
            async for event in found.run(
                stream=True, checkpoint_storage=kept, **await self._begin(found, given, kept)
            ):
                for inner in run.events(event):
                    yield inner
        except Exception as error:
            for ended in run.failed(error):
                yield ended
            raise
        finally:
            if kept.first is not None:
                self._first.setdefault(found, kept.first)
        if not run.requests:
            if kept.answers:
                await saved_state.drop(given)
            yield Result(run.result())
            return
        await saved_state.save(given, saved(kept.last, kept.answers))
        for request in run.requests:
            yield _question(request)

    async def _begin(self, found: Any, given: CallInput, kept: Checkpoints) -> dict[str, Any]:
        """The arguments of a run: from the questions on, with the answers; from the start on, with the input."""
        if text := await saved_state.answered(given):
            kept.last, earlier = restored(text)
            kept.answers = {**earlier, **given.answers}
            asked = kept.last.pending_request_info_events
            responses = {id_: _response(asked[id_], answer) for id_, answer in given.answers.items()}
            if not is_a(found, PACKAGE, "Workflow"):
                responses = {**earlier, **responses}
            return {"responses": responses, "checkpoint_id": kept.last.checkpoint_id}
        message = _message(found, given)
        if found in self._first:
            kept.last = self._first[found].with_message(message)
            return {"checkpoint_id": kept.last.checkpoint_id}
        kept.begins = is_a(found, PACKAGE, "Workflow")
        return {"message": message}


def _message(found: Any, given: CallInput) -> Any:
    """What the start executor takes: the map of all values, one text, or an object that is made of the values."""
    types = _input_types(found)
    if not types or any(one is dict or getattr(one, "__origin__", None) is dict or one is Any for one in types):
        return given.values
    if str in types:
        return text_of(given.values)
    from pydantic import TypeAdapter

    return TypeAdapter(types[0]).validate_python(given.values)


def _input_types(found: Any) -> list[Any]:
    if is_a(found, PACKAGE, "Workflow"):
        return list(found.input_types)
    return [one for name, one in get_type_hints(found._func).items() if name != "return"][:1]


class _Run:
    """What happens in one run of a workflow."""

    def __init__(self) -> None:
        self.requests = list[Any]()
        self._outputs = list[tuple[str, Any]]()
        self._open = dict[str, list[tuple[str, _Updates]]]()
        self._failed = set[str]()
        self._count = 0

    def events(self, event: Any) -> list[InnerEvent]:
        executor = event.executor_id or ""
        match event.type:
            case "executor_invoked":
                self._count += 1
                inner = f"{executor} {self._count}"
                self._open.setdefault(executor, []).append((inner, _Updates(inner)))
                return [Started(inner, "", executor, "executor", _plain(event.data))]
            case "executor_completed":
                return self._completed(executor, [] if event.data is None else event.data)
            case "executor_failed":
                self._failed.add(executor)
            case "output":
                self._outputs.append((executor, event.data))
                return self._updated(executor, event.data)
            case "intermediate" | "data":
                return self._updated(executor, event.data)
            case "request_info":
                self.requests.append(event)
            case "warning" | "error":
                return [Text("", f"{event.data}\n")]
        return []

    def _updated(self, executor: str, data: Any) -> list[InnerEvent]:
        if not (self._open.get(executor) and is_a(data, PACKAGE, "AgentResponseUpdate")):
            return []
        return self._open[executor][-1][1].events(data)

    def _completed(self, executor: str, data: Any) -> list[InnerEvent]:
        inner, updates = self._open[executor].pop(0)
        events: list[InnerEvent] = []
        seen = updates.seen
        data = data if isinstance(data, list) else [data]
        for one in data:  # those of an agent whose output is not one of the workflow come only now
            if not seen and is_a(one, PACKAGE, "AgentResponseUpdate"):
                events += updates.events(one)
        sent = [_plain(one) for one in data if not is_a(one, PACKAGE, "AgentResponseUpdate")]
        return [*events, Ended(inner, sent[0] if len(sent) == 1 else sent or None)]

    def failed(self, error: Exception) -> list[Ended]:
        """What was going on when the run failed: the executors that failed, else all of them."""
        what = _described(error)
        failed = [one for one in self._open if one in self._failed] or list(self._open)
        return [Ended(inner, error=what) for executor in failed for inner, _ in self._open[executor]]

    def result(self) -> Any:
        """The output; a list where there are several. The pieces of an agent's answer are one text."""
        outputs = list[Any]()
        pieces = dict[str, int]()
        for executor, data in self._outputs:
            if not is_a(data, PACKAGE, "AgentResponseUpdate"):
                outputs.append(_plain(data))
            elif executor in pieces:
                outputs[pieces[executor]] += data.text
            else:
                pieces[executor] = len(outputs)
                outputs.append(data.text)
        return outputs[0] if len(outputs) == 1 else outputs or None


class _Updates:
    """The pieces of an agent's answer: text, tools, and tokens, each of which may be a sum so far."""

    def __init__(self, inner: str) -> None:
        self.seen = False
        self._inner = inner
        self._used = [0, 0, 0]
        self._tools = dict[str, bool]()

    def events(self, update: Any) -> list[InnerEvent]:
        self.seen = True
        made = [self._event(content, update) for content in update.contents]
        return [event for event in made if event is not None]

    def _event(self, content: Any, update: Any) -> InnerEvent | None:
        match content.type:
            case "text" if content.text:
                return Text(self._inner, content.text)
            case "function_call" if content.call_id not in self._tools and content.name:
                return self.called(content)
            case "function_result":
                self._tools[content.call_id] = False
                if content.exception:
                    return Ended(content.call_id, error=str(content.exception))
                return Ended(content.call_id, content.result)
            case "usage":
                return self._usage(content, update)
        return None

    def called(self, call: Any) -> Started:
        """A tool is called."""
        self._tools[call.call_id] = True
        return Started(call.call_id, self._inner, call.name, "tool", call.parse_arguments())

    def failed(self, error: Exception) -> list[Ended]:
        """The tools that were called when it failed."""
        return [Ended(tool, error=_described(error)) for tool, is_open in self._tools.items() if is_open]

    def _usage(self, content: Any, update: Any) -> Used:
        names = ("input_token_count", "output_token_count", "cache_read_input_token_count")
        now = [content.usage_details.get(name) or 0 for name in names]
        if getattr(content, "merge_mode", None) == "replace":
            now, self._used = [max(0, new - old) for new, old in zip(now, self._used, strict=True)], now
        else:
            self._used = [new + old for new, old in zip(now, self._used, strict=True)]
        model = getattr(update.raw_representation, "model", None)
        return Used(self._inner, model or "", *now)


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _plain(value: Any) -> Any:
    """Answers and messages of agents as text, or as the object that they are; other values as they are."""
    if is_a(value, PACKAGE, "AgentExecutorResponse"):
        value = value.agent_response
    if is_a(value, PACKAGE, "AgentResponse"):
        return value.text if value.value is None else value.value
    if is_a(value, PACKAGE, "Message"):
        return {"role": str(value.role), "text": value.text}
    return [_plain(one) for one in value] if isinstance(value, list) else value


# Agents


async def _agent(found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
    """A call of an agent, in a session of its own: the framework finds what it has asked there."""
    from agent_framework import AgentSession, Content, Message

    message, session = Message("user", [text_of(given.values)]), found.create_session()
    updates = _Updates("")
    saved_session = await saved_state.answered(given)
    if saved_session:
        state = json.loads(saved_session)
        session = AgentSession.from_dict(state["session"])
        asked = [Content.from_dict(one) for one in state["asked"]]
        message = Message(
            "user", [one.to_function_approval_response(bool(given.answers[str(one.id)])) for one in asked]
        )
        for one in asked:
            yield updates.called(one.function_call)
    stream = found.run([message], stream=True, session=session)
    try:
        async for update in stream:
            for event in updates.events(update):
                yield event
        response = await stream.get_final_response()
    except Exception as error:
        for ended in updates.failed(error):
            yield ended
        raise
    if not response.user_input_requests:
        if saved_session:
            await saved_state.drop(given)
        yield Result(_plain(response))
        return
    requests = [one.to_dict() for one in response.user_input_requests]
    await saved_state.save(given, json.dumps({"session": session.to_dict(), "asked": requests}))
    for request in response.user_input_requests:
        yield _approval(str(request.id), request)


# Questions


def _question(event: Any) -> Asked:
    if is_a(event.data, PACKAGE, "Content") and event.data.type == APPROVAL:
        return _approval(event.request_id, event.data)
    texts = [event.data, *(getattr(event.data, name, None) for name in QUESTIONS)]
    text = next((one for one in texts if isinstance(one, str)), f"{event.source_executor_id} asks")
    return Asked(event.request_id, text, _schema(event.response_type), _shown(event.data))


def _shown(data: Any) -> Any:
    """The data of a request; of an object, its fields."""
    if is_dataclass(data) and not isinstance(data, type):
        return {one.name: _plain(getattr(data, one.name)) for one in fields(data)}
    return data.model_dump(mode="json") if hasattr(data, "model_dump") else _plain(data)


def _approval(id_: str, request: Any) -> Asked:
    call = request.function_call
    shown = {"tool": call.name, "arguments": call.parse_arguments()}
    return Asked(id_, f"May {call.name} be called?", {"type": "boolean"}, shown)


def _schema(response_type: Any) -> dict[str, Any] | None:
    """The schema of an answer; None where its type has none."""
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter(response_type).json_schema()
    except PydanticUserError:
        return None


def _response(event: Any, answer: Any) -> Any:
    """An answer as what the executor expects."""
    if is_a(event.data, PACKAGE, "Content") and event.data.type == APPROVAL:
        return event.data.to_function_approval_response(bool(answer))
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter(event.response_type).validate_python(answer)
    except PydanticUserError:
        return answer
