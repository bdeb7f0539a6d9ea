"""`type: clerk`: a provider that answers prompts with their own words, without a network.

providers: { clerk: { type: clerk, polite: true } }
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agentdeck.errors import StepError
from agentdeck.providers.provider import OnSent, OnText, PromptReply, PromptRequest
from agentdeck.providers.provider_type import ProviderContext, ProviderType
from agentdeck.workflow.model import Data

if TYPE_CHECKING:
    from agentdeck.workflow.deck_file import ProviderSpec


class ClerkType(ProviderType):
    """Its answers are made up. The key `polite` adds a word to each."""

    simulated = True

    def spec(self) -> type[ProviderSpec]:
        from agentdeck.workflow.deck_file import ProviderSpec
        from agentdeck.workflow.file_model import ABSENT, Flag

        class ClerkSpec(ProviderSpec):
            """A provider that answers prompts with their own words."""

            polite: Flag = ABSENT

        return ClerkSpec

    def create(self, context: ProviderContext) -> Clerk:
        return Clerk(context)


class Clerk:
    """Answers all prompts of a run."""

    def __init__(self, context: ProviderContext) -> None:
        self._sleep = context.sleep
        self._polite = bool(context.deck.options.get("polite"))

    async def answer(self, request: PromptRequest, on_text: OnText, on_sent: OnSent) -> PromptReply:
        on_sent()
        if request.model == "absent":
            raise StepError("server", "the clerk is not in today")
        words = [*(["Certainly:"] if self._polite else []), *request.messages[-1].text.split()]
        if request.schema is not None:
            words = [json.dumps(_fitting(request.schema, " ".join(words)))]
        for number, word in enumerate(words):
            await self._sleep(0.01)
            on_text(word if number == 0 else f" {word}")
        text = " ".join(words)
        return PromptReply(
            text, tokens_in=len(request.messages[-1].text) // 4, tokens_out=len(words), simulated=True
        )

    async def close(self) -> None:
        """It has no connections."""


def _fitting(schema: Data, text: str) -> dict[str, Data]:
    """An object of this JSON Schema: each text is the answer."""
    values: dict[str, Data] = {
        "string": text,
        "number": 1.5,
        "integer": 1,
        "boolean": True,
        "array": [],
        "object": {},
    }
    return {
        name: field["enum"][0] if "enum" in field else values.get(field.get("type"), text)
        for name, field in schema["properties"].items()
    }
