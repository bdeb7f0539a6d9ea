"""Runnables of LangChain: chains, prompts, models, tools, retrievers."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from agentdeck.agents.frameworks.framework import (
    CallInput,
    Ended,
    Framework,
    InnerEvent,
    Result,
    Started,
    Text,
    Used,
    is_from,
    text_of,
)

#: What the parts of a call are called in LangChain's events, and here.
KINDS = {"chat_model": "model", "llm": "model"}
#: Steps of a chain that do nothing themselves: what is in them is shown in their place.
TRANSPARENT = frozenset({"RunnableSequence"})
#: A longer list is not converted to be shown.
LONGEST_SHOWN = 50
ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}


class LangChain(Framework):
    """Objects of langchain-core with the interface `Runnable`."""

    def recognises(self, found: object) -> bool:
        return is_from(found, "langchain_core") and not is_from(found, "langgraph") and _streams(found)

    async def call(self, found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        errors, runs, whole = _failures(), _Runs(), _whole(found)
        value, config = input_for(found, given.values), {"callbacks": [errors]}
        try:
            async with aclosing(whole.astream_events(value, config, version="v2")) as events:
                async for event in events:
                    while errors.seen:
                        yield errors.seen.popleft()
                    for one in runs.events_of(event):
                        yield one
        except Exception:
            while errors.seen:
                yield errors.seen.popleft()
            raise
        yield Result(plain(runs.output))


def _streams(found: object) -> bool:
    return callable(getattr(found, "astream_events", None))


def _whole(found: Any) -> Any:
    """A runnable that invokes the object. Its own `astream_events` would stream it, and what is streamed is not
    retried, and has no fallbacks after its first piece. Models stream all the same."""
    from langchain_core.runnables import RunnableLambda

    async def invoke(value: Any, config: Any) -> Any:
        return await found.ainvoke(value, config)

    return RunnableLambda(invoke)


def input_for(found: Any, values: Mapping[str, Any]) -> Any:
    """What a runnable gets: the value named `input` if it is the only one; one text, where the runnable takes
    text or messages; else the map of all values."""
    if list(values) == ["input"]:
        return values["input"]
    if _takes_messages(found):
        return values.get("messages") or values.get("input") or text_of(values)
    return text_of(values) if _takes_text(found) else dict(values)


def _takes_messages(found: Any) -> bool:
    from langchain_core.language_models import BaseLanguageModel

    first = found
    while (inner := getattr(first, "bound", None) or getattr(first, "first", None)) is not None:
        first = inner
    return isinstance(first, BaseLanguageModel)


def _takes_text(found: Any) -> bool:
    try:
        return found.InputType in (str, "str")  # a name where annotations are not evaluated
    except TypeError:  # of a function without annotations
        return False


class _Runs:
    """The events of one call, as LangChain reports them. The outermost run is that of `_whole`, the one in it is
    the object itself."""

    def __init__(self) -> None:
        self.output: Any = None
        self._whole = self._object = ""
        self._replaced: dict[str, str] = {}
        self._streamed: set[str] = set()

    def events_of(self, event: Mapping[str, Any]) -> Iterator[InnerEvent]:
        what, _, when = str(event["event"]).removeprefix("on_").rpartition("_")
        run, data = str(event["run_id"]), event["data"]
        if when == "start":
            yield from self._start(run, what, event)
        elif when == "stream" and what in KINDS:
            yield from self._stream(run, data["chunk"])
        elif when == "end":
            output = data.get("output")
            if what in KINDS:
                yield from self._model_ended(run, event, output)
            yield from self._end(run, output)

    def _start(self, run: str, what: str, event: Mapping[str, Any]) -> Iterator[InnerEvent]:
        parents = event.get("parent_ids") or ()
        parent = self._shown(str(parents[-1])) if parents else ""
        if not self._whole:
            self._whole = run
        elif not self._object:
            self._object = run
        elif event["name"] in TRANSPARENT:
            self._replaced[run] = parent
        else:
            yield Started(run, parent, event["name"], KINDS.get(what, what), shown(event["data"].get("input")))

    def _stream(self, run: str, chunk: Any) -> Iterator[InnerEvent]:
        if delta := text_in(chunk):
            self._streamed.add(run)
            yield Text(self._shown(run), delta)

    def _model_ended(self, run: str, event: Mapping[str, Any], output: Any) -> Iterator[InnerEvent]:
        if run in self._streamed:
            self._streamed.discard(run)
        elif text := text_in(output):
            yield Text(self._shown(run), text)
        name = str((event.get("metadata") or {}).get("ls_model_name") or event["name"])
        if (used := usage_of(self._shown(run), name, output)) is not None:
            yield used

    def _end(self, run: str, output: Any) -> Iterator[InnerEvent]:
        if run == self._whole:
            self.output = output
        elif run == self._object:
            pass
        elif run in self._replaced:
            del self._replaced[run]
        else:
            yield Ended(run, shown(output))

    def _shown(self, run: str) -> str:
        """The id of the inner step that stands for a run, empty for the object itself."""
        run = self._replaced.get(run, run)
        return "" if run in (self._whole, self._object) else run


def _failures() -> Any:
    """A callback that collects the ends of the runs that fail, innermost first. LangChain's events have them for
    tools only."""
    from langchain_core.callbacks import BaseCallbackHandler

    class Failures(BaseCallbackHandler):
        run_inline = True

        def __init__(self) -> None:
            self.seen: deque[Ended] = deque()

        def on_chain_error(self, error: BaseException, *, run_id: Any, **more: Any) -> None:
            if isinstance(error, Exception):
                self.seen.append(Ended(str(run_id), error=described(error)))

        on_llm_error = on_tool_error = on_retriever_error = on_chain_error

    return Failures()


def described(error: BaseException) -> str:
    """The error of an inner step, in the words in which agentdeck describes that of the attempt."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def text_in(found: Any) -> str:
    """The text of a message or a piece of one, of any content; of what a model without messages gives, the first
    text."""
    if isinstance(found, str):
        return found
    if isinstance(found, Mapping):
        generations = found.get("generations") or [[]]
        return str(generations[0][0].get("text", "")) if generations[0] else ""
    content = getattr(found, "content", None)
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(one if isinstance(one, str) else str(one.get("text", "")) for one in content)
    return str(getattr(found, "text", "") or "")


def usage_of(inner: str, model: str, output: Any) -> Used | None:
    """What a call of a model used, from its message; None where that is not known. A model without messages has
    it in `llm_output`."""
    about = getattr(output, "response_metadata", None) or {}
    model = str(about.get("model_name") or about.get("model") or model)
    usage = getattr(output, "usage_metadata", None)
    if usage:
        cached = (usage.get("input_token_details") or {}).get("cache_read")
        return Used(inner, model, usage.get("input_tokens"), usage.get("output_tokens"), cached)
    more = output.get("llm_output") if isinstance(output, Mapping) else None
    if isinstance(more, Mapping) and (counts := more.get("token_usage")):
        name = str(more.get("model_name") or model)
        return Used(inner, name, counts.get("prompt_tokens"), counts.get("completion_tokens"))
    return None


def plain(value: Any, longest: int | None = None) -> Any:
    """The value with its messages as plain data: role, content, calls of tools. Lists of more than `longest`
    items stay as they are."""
    from langchain_core.messages import BaseMessage
    from langchain_core.prompt_values import PromptValue

    def convert(one: Any) -> Any:
        if isinstance(one, BaseMessage):
            return message_data(one)
        if isinstance(one, PromptValue):
            return convert(one.to_messages())
        if isinstance(one, dict):
            return {name: convert(item) for name, item in one.items()}
        if isinstance(one, list | tuple) and not hasattr(one, "_fields"):
            return one if longest is not None and len(one) > longest else [convert(item) for item in one]
        return one

    return convert(value)


def shown(value: Any) -> Any:
    """The value of an inner step, as it is recorded."""
    return plain(value, LONGEST_SHOWN)


def message_data(message: Any) -> dict[str, Any]:
    """A message as plain data, in the form in which providers take messages."""
    made: dict[str, Any] = {"role": ROLES.get(message.type, message.type), "content": message.content}
    for name in ("name", "tool_call_id"):
        if value := getattr(message, name, None):
            made[name] = value
    if calls := getattr(message, "tool_calls", None):
        made["tool_calls"] = [{"id": one["id"], "name": one["name"], "args": one["args"]} for one in calls]
    return made
