"""Semantic Kernel: functions, kernels and agents. Calls of models and of functions are inner steps.

A function is named alone where it needs no services. Otherwise its kernel is named, and `with: { function:
plugin.name }` says which of its functions is called."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextvars import ContextVar
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
    is_a,
    text_of,
)

#: The value that names the function of a kernel.
FUNCTION = "function"
#: Arguments that Semantic Kernel adds to those of a function.
HIDDEN = ("chat_history", "kernel")
#: What a service of chats implements: one request, without and with streaming.
_ASK, _STREAM = "_inner_get_chat_message_contents", "_inner_get_streaming_chat_message_contents"

#: The inner step that is under way in this context.
_inside: ContextVar[str] = ContextVar("agentdeck_semantic_kernel_step", default="")


class SemanticKernel(Framework):
    """Functions get all values as their arguments, an agent gets one text."""

    def recognises(self, found: object) -> bool:
        return any(_is(found, name) for name in ("Kernel", "KernelFunction", "Agent"))

    def alone(self, found: Any) -> bool:
        return True  # functions may be plain ones, which only the end of a process ends

    async def call(self, found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        events = asyncio.Queue[InnerEvent | None]()
        work = asyncio.ensure_future(_run(found, given, _Watch(given, events.put_nowait)))
        work.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield Result(_result(work))
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


def _is(found: object, name: str) -> bool:
    return is_a(found, "semantic_kernel", name)


def _result(work: asyncio.Future[Any]) -> Any:
    """The result of a call. Raises the cause of what only says that a function has failed."""
    from semantic_kernel.exceptions import FunctionExecutionException, KernelInvokeException

    error = work.exception()
    while isinstance(error, KernelInvokeException | FunctionExecutionException) and error.__cause__ is not None:
        error = error.__cause__
    if error is not None:
        raise error
    return work.result()


async def _run(found: Any, given: CallInput, watch: _Watch) -> Any:
    from semantic_kernel import Kernel

    values = dict(given.values)
    if _is(found, "Agent"):
        return await _run_agent(found, values, watch)
    if _is(found, "KernelFunction"):
        kernel, function = watch.kernel(Kernel()), watch.function(found.function_copy())
    else:
        kernel = watch.kernel(found)
        function = function_named(kernel, values.pop(FUNCTION, None))
    watch.outermost = function
    return await _run_function(kernel, function, values)


async def _run_function(kernel: Any, function: Any, values: dict[str, Any]) -> Any:
    from semantic_kernel.functions import KernelArguments

    arguments = KernelArguments(**values)
    if not (function.is_prompt and _streams(kernel, function, arguments)):
        result = await kernel.invoke(function, arguments)
        return None if result is None else _plain(result.value)
    answer = StreamedText()
    async for pieces in kernel.invoke_stream(function, arguments):
        for piece in pieces if isinstance(pieces, list) else [pieces]:
            answer.add(piece)
    return answer.all()


async def _run_agent(agent: Any, values: dict[str, Any], watch: _Watch) -> Any:
    from semantic_kernel.functions import KernelArguments

    kernel, arguments = watch.kernel(agent.kernel), KernelArguments(**values)
    options = {"messages": text_of(values), "kernel": kernel, "arguments": arguments}
    if not (_is(agent, "ChatCompletionAgent") and _streams(kernel, None, agent.arguments)):
        response = await agent.get_response(**options)
        return _plain(response.message)
    answer = StreamedText()
    async for item in agent.invoke_stream(**options):
        answer.add(item.message)
    return answer.all()


def function_named(kernel: Any, name: Any) -> Any:
    """The function of a kernel that is named; the only one where no name is given. Raises LookupError."""
    functions = {
        f"{plugin.name}.{function.name}": function
        for plugin in kernel.plugins.values()
        for function in plugin.functions.values()
    }
    wanted = str(name).replace("-", ".", 1) if name else ""
    found = [one for key, one in functions.items() if not wanted or wanted in (key, key.partition(".")[2])]
    if len(found) == 1:
        return found[0]
    what = f"{len(found) or 'no'} functions named {name}" if name else f"{len(functions)} functions"
    names = ", ".join(functions) or "there are none"
    raise LookupError(f"the kernel has {what}; name one in `with: {{ {FUNCTION}: … }}`: {names}")


def _streams(kernel: Any, function: Any, arguments: Any) -> bool:
    """Whether the service that answers can stream."""
    from semantic_kernel.connectors.ai.chat_completion_client_base import ChatCompletionClientBase
    from semantic_kernel.exceptions import KernelServiceNotFoundError

    try:
        service, _ = kernel.select_ai_service(function=function, arguments=arguments)
    except KernelServiceNotFoundError:
        return False
    own = getattr(type(service), _STREAM, None)
    return isinstance(service, ChatCompletionClientBase) and own is not getattr(ChatCompletionClientBase, _STREAM)


class StreamedText:
    """The text of a streamed answer: that of the last request, which follows all calls of functions."""

    def __init__(self) -> None:
        self._attempt = 0
        self._pieces: list[str] = []

    def add(self, piece: Any) -> None:
        attempt = getattr(piece, "function_invoke_attempt", 0) or 0
        if attempt != self._attempt:
            self._attempt, self._pieces = attempt, []
        if getattr(piece.role, "value", piece.role) != "tool":
            self._pieces.append(piece.content or "")

    def all(self) -> str:
        return "".join(self._pieces)


def _plain(value: Any) -> Any:
    """The text of messages, anything else as it is."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value.content if isinstance(getattr(value, "content", None), str) else value


# What happens inside


class _Watch:
    """Publishes what happens in copies of kernels: the originals, which others may use, stay as they are."""

    def __init__(self, given: CallInput, publish: Callable[[InnerEvent], None]) -> None:
        self._given = given
        self._publish = publish
        self._numbers = itertools.count(1)
        #: The function that is called, until it is.
        self.outermost: Any = None

    def kernel(self, kernel: Any) -> Any:
        """A copy that is watched. Its services are those of the original, with requests that are watched."""
        from semantic_kernel.filters import FilterTypes

        copy = kernel.clone()
        for plugin in copy.plugins.values():
            for function in plugin.functions.values():
                self.function(function)
        for name, service in copy.services.items():
            copy.services[name] = self._service(service)
        copy.add_filter(FilterTypes.FUNCTION_INVOCATION, self._invoked)
        return copy

    def function(self, function: Any) -> Any:
        """A copy of a function that is called in a thread, if it is a plain one."""
        method = getattr(function, "method", None)
        if method is not None and not (
            inspect.iscoroutinefunction(method)
            or inspect.isasyncgenfunction(method)
            or inspect.isgeneratorfunction(method)
        ):
            function.method = self._threaded(method)
        return function

    def _threaded(self, method: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        async def call(**values: Any) -> Any:
            result = await self._given.in_thread(lambda: method(**values))
            return await result if inspect.isawaitable(result) else result

        return call

    async def _invoked(self, context: Any, next: Callable[[Any], Awaitable[None]]) -> None:  # noqa: A002
        """A filter around each call of a function. The first one of the object itself is no inner step."""
        if context.function is self.outermost:
            self.outermost = None
            await next(context)
            return
        arguments = {name: value for name, value in context.arguments.items() if name not in HIDDEN}
        step = self._start(context.function.fully_qualified_name, "function", arguments)
        before = _inside.set(step)
        try:
            await next(context)
        except BaseException as error:
            self._publish(Ended(step, error=_described(error)))
            raise
        finally:
            _inside.reset(before)
        result = context.result
        self._publish(Ended(step, None if result is None else _plain(result.value)))

    def _start(self, name: str, kind: str, given: Any) -> str:
        step = f"{kind} {next(self._numbers)}"
        self._publish(Started(step, _inside.get(), name, kind, given))
        return step

    # Models

    def _service(self, service: Any) -> Any:
        """A copy of a service whose requests are watched: both methods are those that each service of chats
        implements for one request."""
        if not hasattr(service, _ASK):
            return service
        copy = service.model_copy()

        async def ask(chat_history: Any, settings: Any) -> Any:
            model = settings.ai_model_id or service.ai_model_id
            step = self._start(model, "model", _newest(chat_history))
            try:
                messages = await getattr(service, _ASK)(chat_history, settings)
            except BaseException as error:
                self._publish(Ended(step, error=_described(error)))
                raise
            for message in messages:
                self._say(step, message)
            self._end(step, model, messages, "".join(message.content or "" for message in messages))
            return messages

        async def stream(
            chat_history: Any, settings: Any, *more: Any, **options: Any
        ) -> AsyncGenerator[Any, None]:
            model = settings.ai_model_id or service.ai_model_id
            step = self._start(model, "model", _newest(chat_history))
            pieces: list[Any] = []
            try:
                async for messages in getattr(service, _STREAM)(chat_history, settings, *more, **options):
                    for message in messages:
                        self._say(step, message)
                    pieces.extend(messages)
                    yield messages
            except BaseException as error:
                self._publish(Ended(step, error=_described(error)))
                raise
            self._end(step, model, pieces, "".join(piece.content or "" for piece in pieces))

        copy.__dict__[_ASK], copy.__dict__[_STREAM] = ask, stream
        return copy

    def _say(self, step: str, message: Any) -> None:
        if message.content:
            self._publish(Text(step, message.content))

    def _end(self, step: str, model: str, messages: list[Any], text: str) -> None:
        usages = [usage for message in messages if (usage := message.metadata.get("usage")) is not None]
        self._publish(Used(step, model, *_tokens(usages[-1] if usages else None)))
        self._publish(Ended(step, text or _calls(messages)))


def _tokens(usage: Any) -> tuple[int | None, int | None, int | None]:
    """Tokens in, out and from the cache."""
    details = getattr(usage, "prompt_tokens_details", None)
    counts = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    return (*counts, getattr(details, "cached_tokens", None))


def _calls(messages: list[Any]) -> list[dict[str, Any]] | None:
    """The calls of functions that an answer asks for."""
    items = [item for message in messages for item in message.items if hasattr(item, "function_name")]
    return [{"function": item.name, "arguments": item.arguments} for item in items] or None


def _newest(history: Any) -> Any:
    return history.messages[-1].content if history.messages else None


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
