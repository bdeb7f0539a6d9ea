"""A chat model of LangChain for tests: it streams words, and reports the tokens that it used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

USAGE: Any = {
    "input_tokens": 10,
    "output_tokens": 3,
    "total_tokens": 13,
    "input_token_details": {"cache_read": 4},
}


class CountingModel(BaseChatModel):
    """Says `says`, whatever it is asked."""

    says: str = "Hot water"

    @property
    def _llm_type(self) -> str:
        return "counting"

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        about = {"model_name": "counter-1"}
        message = AIMessage(self.says, usage_metadata=USAGE, response_metadata=about)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages: list[BaseMessage], *args: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
        for word in re.findall(r" ?\S+", self.says):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        about = {"model_name": "counter-1"}
        yield ChatGenerationChunk(
            message=AIMessageChunk(content="", usage_metadata=USAGE, response_metadata=about)
        )


class WholeModel(CountingModel):
    """Gives its answer in one piece."""

    disable_streaming: Any = True
