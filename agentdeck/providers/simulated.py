"""`simulated`: generates answers without a key and without a network, at the speed of real providers."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING

from agentdeck.errors import StepError
from agentdeck.providers.provider import OnSent, OnText, PromptReply, PromptRequest
from agentdeck.providers.provider_type import PriceList, ProviderContext, ProviderType
from agentdeck.workflow.deck import Provider
from agentdeck.workflow.model import Data

if TYPE_CHECKING:
    from agentdeck.workflow.deck_file import ProviderSpec

#: Seconds that an answer takes, by tier.
LATENCY = {"routing": (0.2, 0.5), "execution": (0.5, 1.2), "reasoning": (1.0, 2.5)}
CHARACTERS_PER_TOKEN = 4
WORDS_AT_ONCE = 4
#: The Retry-After of a throttled call, in seconds.
RETRY_AFTER = 1.0
WORDS = (
    "clear", "short", "read", "twice", "shown", "left", "part", "order", "figure", "source", "reason", "result",
)  # fmt: skip
SENTENCES = (
    "{0} is clear, {1} is not.",
    "What is said of {0} holds.",
    "{0} comes before {1}.",
    "There is more to {0} than {1}.",
    "{0} and {1} belong together.",
    "Nothing speaks against {0}.",
)
_WORD = re.compile(r"[^\W\d_]{5,24}")


class SimulatedType(ProviderType):
    """Its keys `fails` and `throttles` are the shares of calls that fail, and that are refused for their rate."""

    simulated = True

    def spec(self) -> type[ProviderSpec]:
        from agentdeck.workflow.deck_file import ProviderSpec
        from agentdeck.workflow.file_model import ABSENT, Share

        class SimulatedSpec(ProviderSpec):
            """A provider that generates its answers."""

            fails: Share = ABSENT
            throttles: Share = ABSENT

        return SimulatedSpec

    def create(self, context: ProviderContext) -> SimulatedProvider:
        return SimulatedProvider(context.name, context.deck, context.sleep)

    def price_list(self, url: str | None) -> PriceList:
        return PriceList()  # that of a real model with the same id


class SimulatedProvider:
    """Deterministic: the same request with the same seed has the same answer."""

    def __init__(self, name: str, provider: Provider, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._who = name
        self._fails = provider.options.get("fails", 0.0)
        self._throttles = provider.options.get("throttles", 0.0)
        self._sleep = sleep

    async def answer(self, request: PromptRequest, on_text: OnText, on_sent: OnSent) -> PromptReply:
        on_sent()
        on_text("")
        asked = request.system + "".join(turn.text for turn in request.messages)
        random = Random(request.seed)
        chance = random.random()
        if chance < self._throttles:
            raise StepError("rate_limit", f"{self._who} answered 429: simulated", retry_after=RETRY_AFTER)
        takes = random.uniform(*LATENCY.get(request.tier, LATENCY["execution"]))
        about = words_of(request.messages[0].text if request.messages else "")
        if request.schema is not None:
            answer = json.dumps(fitting(request.schema, random, about), ensure_ascii=False)
        else:
            answer = text(random, random.randint(20, 60), about)
        most = None if request.max_output is None else request.max_output * CHARACTERS_PER_TOKEN
        ended = "stop"
        if most is not None and len(answer) > most and request.schema is None:
            answer, ended = answer[:most], "length"
        words = answer.split(" ")
        breaks = len(words) // 2 if chance > 1 - self._fails else len(words) + 1
        for at in range(0, len(words), WORDS_AT_ONCE):
            await self._sleep(takes * min(WORDS_AT_ONCE, len(words) - at) / len(words))
            if at >= breaks:
                come = " ".join(words[:at])
                raise StepError("server", f"{self._who} ended the stream with an error: simulated", detail=come)
            on_text(("" if at == 0 else " ") + " ".join(words[at : at + WORDS_AT_ONCE]))
        tokens_in, tokens_out = (len(each) // CHARACTERS_PER_TOKEN + 1 for each in (asked, answer))
        return PromptReply(answer, (), tokens_in, tokens_out, 0, ended, simulated=True)

    async def close(self) -> None:
        pass


def words_of(prompt: str) -> Sequence[str]:
    """The words of a prompt that an answer may use."""
    found = tuple(dict.fromkeys(_WORD.findall(prompt[-4000:])))
    return found if len(found) > 8 else (*found, *WORDS)


def text(random: Random, words: int, about: Sequence[str] = WORDS) -> str:
    """Sentences with about this many words in all."""
    made: list[str] = []
    while sum(len(sentence.split()) for sentence in made) < words:
        sentence = random.choice(SENTENCES).format(*random.sample(about, 2))
        made.append(sentence[0].upper() + sentence[1:])
    return " ".join(made)


def fitting(schema: Mapping[str, Data], random: Random, about: Sequence[str] = WORDS) -> dict[str, Data]:
    """An object of this JSON Schema (see `schema_of`)."""
    return {name: _value(field, random, about) for name, field in (schema.get("properties") or {}).items()}


def _value(field: Mapping[str, Data], random: Random, about: Sequence[str]) -> Data:
    if "enum" in field:
        return random.choice(field["enum"])
    match field.get("type"):
        case "number":
            return round(random.uniform(0, 10), 2)
        case "integer":
            return random.randint(0, 10)
        case "boolean":
            return random.random() < 0.5
        case "array":
            return [text(random, 3, about) for _ in range(random.randint(1, 3))]
        case "object":
            return {"note": text(random, 5, about)}
    return text(random, 20, about)
