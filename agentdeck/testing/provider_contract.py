"""The contract of types of providers."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

from agentdeck.errors import KINDS, InvalidFile, StepError
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.provider import Message, PromptReply, PromptRequest, Provider, schema_of
from agentdeck.providers.provider_type import ProviderContext, ProviderType, provider_type
from agentdeck.testing.contract import LIMIT, Contract, assert_ends_when_cancelled
from agentdeck.workflow.deck import Provider as DeckProvider
from agentdeck.workflow.deck import load_deck
from agentdeck.workflow.model import Data, Type

#: Answers that are asked for at once.
CROWD = 8


class ProviderContract(Contract):
    """Subclass it in a test module, and set `name`:

        class TestAcme(ProviderContract):
            name = "acme"
            keys = {"caution": "20%"}

    Where the keys are known only when the test runs (the url of a server that it starts), override the fixture
    `deck_keys` instead.
    """

    #: The `type:` in the deck: the name of the entry point.
    name: ClassVar[str]
    #: The other keys of a provider of the type, as in the deck.
    keys: ClassVar[Mapping[str, Data]] = {}
    #: Keys with which a provider fails to answer; None where there are none.
    failing_keys: ClassVar[Mapping[str, Data] | None] = None
    #: The id of a model that answers, of one that gives typed answers (empty: none does), and of one that fails.
    model: ClassVar[str] = "test"
    typed_model: ClassVar[str] = "test"
    failing_model: ClassVar[str] = "test"

    @pytest.fixture
    def deck_keys(self) -> Mapping[str, Data]:
        return self.keys

    @pytest.fixture
    async def provider(self, deck_keys: Mapping[str, Data], tmp_path: Path) -> AsyncIterator[Provider]:
        made = self._make(self._read(deck_keys, tmp_path))
        yield made
        await made.close()

    def test_the_type_is_installed(self) -> None:
        assert isinstance(provider_type(self.name), ProviderType)

    @pytest.mark.anyio
    async def test_the_deck_takes_its_keys_and_no_others(
        self, deck_keys: Mapping[str, Data], tmp_path: Path
    ) -> None:
        assert self._read(deck_keys, tmp_path).type == self.name
        with pytest.raises(InvalidFile, match="not_a_key"):
            self._read({**deck_keys, "not_a_key": 1}, tmp_path)

    @pytest.mark.anyio
    async def test_an_answer_is_streamed_and_whole(self, provider: Provider) -> None:
        asked = _Asked()
        reply = await asked(provider, self.model)
        assert asked.sent == 1, "on_sent is called once, when the last byte of the request is written"
        assert "".join(asked.pieces) == reply.text, "on_text gets each piece of the text once, in order"
        assert reply.text, "the answer to a plain question is not empty"
        for count in (reply.tokens_in, reply.tokens_out, reply.cached_in):
            assert count is None or count >= 0, "a number of tokens that is not known is None"

    @pytest.mark.anyio
    async def test_a_typed_answer_is_a_json_object_with_its_fields(self, provider: Provider) -> None:
        if not self.typed_model:
            pytest.skip("no model gives typed answers")
        schema = schema_of({"word": Type("string"), "good": Type("boolean")})
        found = json.loads((await _Asked()(provider, self.typed_model, schema=schema)).text)
        assert found.keys() == {"word", "good"}
        assert isinstance(found["word"], str)
        assert isinstance(found["good"], bool)

    @pytest.mark.anyio
    async def test_one_object_answers_many_at_once(self, provider: Provider) -> None:
        all_asked = [_Asked() for _ in range(CROWD)]
        replies: dict[int, PromptReply] = {}

        async def ask(number: int) -> None:
            replies[number] = await all_asked[number](provider, self.model, seed=number)

        async with anyio.create_task_group() as group:
            for number in range(CROWD):
                group.start_soon(ask, number)
        for number, asked in enumerate(all_asked):
            assert "".join(asked.pieces) == replies[number].text, "answers are not mixed up"

    @pytest.mark.anyio
    async def test_a_cancelled_answer_ends_at_once_and_the_next_is_answered(self, provider: Provider) -> None:
        asked = _Asked()
        await assert_ends_when_cancelled(asked(provider, self.model), asked.begun)
        with anyio.fail_after(LIMIT):
            assert (await _Asked()(provider, self.model)).text

    @pytest.mark.anyio
    async def test_a_failure_has_a_kind(self, deck_keys: Mapping[str, Data], tmp_path: Path) -> None:
        if self.failing_keys is None and self.failing_model == self.model:
            pytest.skip("neither failing_keys nor failing_model is set")
        made = self._make(self._read({**deck_keys, **(self.failing_keys or {})}, tmp_path))
        with pytest.raises(StepError) as caught:
            await _Asked()(made, self.failing_model)
        assert caught.value.fault.kind in KINDS
        assert caught.value.fault.message, "the message says who failed, and how"
        await made.close()

    @pytest.mark.anyio
    async def test_a_provider_that_nobody_asked_is_closed(
        self, deck_keys: Mapping[str, Data], tmp_path: Path
    ) -> None:
        await self._make(self._read(deck_keys, tmp_path)).close()

    def _read(self, keys: Mapping[str, Data], folder: Path) -> DeckProvider:
        """The provider of a deck with these keys."""
        file = folder / "deck.yaml"
        deck = {"agentdeck": 1, "providers": {"it": {"type": self.name, **keys}}}
        file.write_text(json.dumps(deck))  # JSON is YAML
        return load_deck(file).providers["it"]

    def _make(self, provider: DeckProvider) -> Provider:
        context = ProviderContext("it", provider, KeyStore(os.environ), _sleep)
        return provider_type(self.name).create(context)


async def _sleep(seconds: float) -> None:
    """The run's clock, faster."""
    await anyio.sleep(min(seconds, 0.005))


class _Asked:
    """Asks a provider, and notes its calls."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.sent = 0
        self.begun = anyio.Event()

    def _on_text(self, piece: str) -> None:
        self.pieces.append(piece)
        self.begun.set()

    def _on_sent(self) -> None:
        self.sent += 1
        self.begun.set()

    async def __call__(self, provider: Provider, model: str, schema: Any = None, seed: int = 1) -> PromptReply:
        question = PromptRequest(model, [Message("user", "What is agentdeck?")], schema=schema, seed=seed)
        return await provider.answer(question, self._on_text, self._on_sent)
