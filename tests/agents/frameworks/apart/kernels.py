"""Kernels and agents of the tests, in the interpreter of Semantic Kernel."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from openai.types import CompletionUsage
from semantic_kernel import Kernel
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.chat_completion_client_base import ChatCompletionClientBase
from semantic_kernel.connectors.ai.function_calling_utils import update_settings_from_function_call_configuration
from semantic_kernel.connectors.ai.function_choice_behavior import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import OpenAIChatPromptExecutionSettings
from semantic_kernel.contents import (
    AuthorRole,
    ChatMessageContent,
    FunctionCallContent,
    StreamingChatMessageContent,
)
from semantic_kernel.functions import KernelFunctionFromPrompt, kernel_function

USAGE = {"usage": CompletionUsage(prompt_tokens=10, completion_tokens=4, total_tokens=14)}


def note(what: str) -> None:
    with Path(os.environ["AGENTDECK_TEST_EFFECTS"]).open("a") as file:
        file.write(f"{what}\n")


class Made(ChatCompletionClientBase):
    """Answers by itself. It calls the function `text.count` once, where it may."""

    SUPPORTS_FUNCTION_CALLING = True
    fault: str = ""

    def get_prompt_execution_settings_class(self) -> Any:
        return OpenAIChatPromptExecutionSettings

    def _update_function_choice_settings_callback(self) -> Any:
        return update_settings_from_function_call_configuration

    async def _inner_get_chat_message_contents(self, chat_history: Any, settings: Any) -> list[Any]:
        await asyncio.sleep(0)
        if self.fault:
            raise ConnectionError(self.fault)
        last, options = chat_history.messages[-1], {"role": AuthorRole.ASSISTANT, "metadata": USAGE}
        if settings.tools and last.role == AuthorRole.USER:
            call = FunctionCallContent(
                id="1", plugin_name="text", function_name="count", arguments='{"text": "tea"}'
            )
            return [ChatMessageContent(items=[call], **options)]
        return [ChatMessageContent(content=f"answer to {last.content or last.items[0].result}", **options)]


class Streaming(Made):
    async def _inner_get_streaming_chat_message_contents(
        self, chat_history: Any, settings: Any, function_invoke_attempt: int = 0
    ) -> AsyncGenerator[list[Any], None]:
        (whole,) = await self._inner_get_chat_message_contents(chat_history, settings)
        options = {"role": AuthorRole.ASSISTANT, "choice_index": 0, "ai_model_id": "made-up"}
        options["function_invoke_attempt"] = function_invoke_attempt
        if any(isinstance(item, FunctionCallContent) for item in whole.items):
            yield [StreamingChatMessageContent(items=whole.items, metadata=USAGE, **options)]
            return
        for word in whole.content.split(" "):
            yield [StreamingChatMessageContent(content=f"{word} ", **options)]
        yield [StreamingChatMessageContent(content="", metadata=USAGE, **options)]


class Texts:
    @kernel_function
    def count(self, text: str) -> int:
        """The characters of a text."""
        note("function")
        return len(text)

    @kernel_function
    def wait(self, text: str) -> str:
        """Blocks a thread."""
        note(f"pid-{os.getpid()}")
        time.sleep(60)
        return text

    @kernel_function
    def fail(self, text: str) -> str:
        """Is broken."""
        raise ValueError("no such text")


def made(service: type[Made] = Made, **options: Any) -> Kernel:
    kernel = Kernel()
    kernel.add_service(service(ai_model_id="made-up", service_id="default", **options))
    kernel.add_plugin(Texts(), "text")
    calls = OpenAIChatPromptExecutionSettings(function_choice_behavior=FunctionChoiceBehavior.Auto())
    for function in (
        KernelFunctionFromPrompt("short", "writer", prompt="Shorten {{$topic}} of {{text.count $topic}}"),
        KernelFunctionFromPrompt("calls", "writer", prompt="Count {{$topic}}", prompt_execution_settings=calls),
        KernelFunctionFromPrompt("slow", "writer", prompt="{{text.wait $topic}}"),
    ):
        kernel.add_function("writer", function)
    return kernel


#: Called many times at once.
kernel = made()
broken = made(fault="no quota left")
count = kernel.get_function("text", "count")


def assistant() -> ChatCompletionAgent:
    return ChatCompletionAgent(
        kernel=made(Streaming),
        name="assistant",
        instructions="Be {{$mood}}.",
        function_choice_behavior=FunctionChoiceBehavior.Auto(),
    )
