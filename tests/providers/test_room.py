"""Who answers, what it costs, and the provider that needs neither key nor network."""

from __future__ import annotations

import json

import anyio
import pytest

from agentdeck.errors import ProviderError, StepError, UsageError
from agentdeck.providers.model_facts import Prices
from agentdeck.providers.provider import Message, PromptReply, PromptRequest, schema_of, strict
from agentdeck.providers.registry import ProviderRegistry, check_deck, models_for
from agentdeck.providers.simulated import SimulatedProvider
from agentdeck.workflow.deck import Deck, McpServer, Model, Provider
from agentdeck.workflow.model import Agent, Definition, Prompt, Type

pytestmark = pytest.mark.anyio
DECK = Deck(
    providers={
        "anthropic": Provider("anthropic", "${env.ANT}"),
        "openai": Provider("openai", "${env.OAI}"),
        "local": Provider("openai", url="http://127.0.0.1:8000/v1"),
        "sim": Provider("simulated"),
    },
    models={
        "haiku": Model("anthropic", "claude-haiku-4-5"),
        "opus": Model("anthropic", "claude-opus-4-1"),
        "mini": Model("openai", "gpt-4o-mini"),
        "mine": Model("local", "gpt-4o-mini"),
        "priced": Model("local", "x", (2.0, 4.0), 0.5),
        "odd": Model("openai", "nobody-knows-this"),
        "sim-haiku": Model("sim", "claude-haiku-4-5"),
    },
    tiers={"routing": ("haiku", "mini"), "execution": ("mini",), "reasoning": ("opus",), "own": ("mine",)},
)


def agent(**more: object) -> Agent:
    names = {name: more.pop(name) for name in ("model", "tools") if name in more}
    return Agent("a", Prompt("Hi", **names), **more)  # type: ignore[arg-type]


def test_a_tier_is_a_list_of_models() -> None:
    assert models_for(DECK, agent(tier="routing")) == ("haiku", "mini")
    assert models_for(DECK, agent()) == ("mini",)
    assert models_for(DECK, agent(), tier_up=1) == ("opus",)
    assert models_for(DECK, agent(), tier_up=5) == ("opus",)
    assert models_for(DECK, agent(), tier_up=-1) == ("haiku", "mini")
    assert models_for(DECK, agent(tier="own"), tier_up=1) == ("mine",)
    assert models_for(DECK, agent(model="haiku", tier="own")) == ("haiku",)
    assert models_for(DECK, agent(model="haiku"), tier_up=1) == ("opus",)


def test_without_a_deck_everything_is_simulated() -> None:
    for one in (agent(), agent(tier="whatever"), agent(model="whatever")):
        assert (
            models_for(Deck(), one)
            == models_for(ProviderRegistry(Deck(), anyio.sleep).deck, one)
            == ("simulated",)
        )


def test_what_can_be_told_before_is_told_before() -> None:
    def check(one: Agent, env: dict[str, str], deck: Deck = DECK) -> None:
        check_deck(deck, [Definition("w", {"a": one})], env)

    check(agent(), {"OAI": "x"})
    check(agent(tier="own"), {})
    check(agent(tools=("x/y",)), {}, Deck())
    with pytest.raises(ProviderError) as caught:
        check(agent(tier="routing"), {})
    assert str(caught.value).splitlines() == [
        "provider anthropic has no key: ANT is not set in the environment",
        "provider openai has no key: OAI is not set in the environment",
    ]
    with pytest.raises(UsageError, match=r"a: tier rooting is not in the deck; did you mean routing\?"):
        check(agent(tier="rooting"), {})
    with pytest.raises(UsageError, match=r"a: 'add' is not a tool; write it as server/tool"):
        check(agent(tools=("add",)), {"OAI": "x"})
    tooled = Deck(providers=DECK.providers, models=DECK.models, tiers=DECK.tiers,
                  mcp={"sums": McpServer(("x",), {"T": "${env.TOKEN}"})})  # fmt: skip
    with pytest.raises(ProviderError, match="tools of sums: TOKEN is not set"):
        check(agent(tools=("sums/add",)), {"OAI": "x"}, tooled)
    wrong = Deck(providers={"p": Provider("openai", url="localhost")}, models={"m": Model("p", "m")},
                 tiers={"execution": ("m",)})  # fmt: skip
    with pytest.raises(ProviderError, match="its url has to start with http"):
        check(agent(), {}, wrong)


def test_prices_are_the_decks_or_the_lists_and_never_guessed() -> None:
    prices = Prices(DECK)
    assert prices.usd("haiku", 1_000_000, 0, 0) == pytest.approx(1.0)
    assert prices.usd("haiku", 1_000_000, 100_000, 500_000) == pytest.approx(0.5 + 0.05 + 0.5)
    assert prices.usd("sim-haiku", 1_000_000, 0, 0) == pytest.approx(1.0)
    assert prices.usd("priced", 1_000_000, 1_000_000, 200_000) == pytest.approx(0.8 * 2 + 0.2 * 0.5 + 4)
    assert prices.usd_top(1_000_000, 0, None) == pytest.approx(15.0)
    for unknown in ("odd", "mine", "simulated"):
        assert prices.usd(unknown, 10, 10, 0) is None
        assert prices.price(unknown) is None
    assert prices.usd("haiku", None, 10, 0) is None
    assert prices.usd("haiku", 10, None, 0) is None
    price = prices.price("haiku")
    assert price is not None
    assert price == pytest.approx((1.0, 5.0, 0.1))


class Asked:
    """A simulated provider without waiting."""

    def __init__(self, provider: Provider) -> None:
        self.slept = 0.0
        self.said: list[str] = []
        self.provider = SimulatedProvider("sim", provider, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds

    async def __call__(self, seed: int, **more: object) -> PromptReply:
        question = PromptRequest("m", [Message("user", "Is the lease good?")], seed=seed, **more)  # type: ignore[arg-type]
        return await self.provider.answer(question, self.said.append, lambda: None)


async def test_simulated_answers_are_the_same_for_the_same_seed() -> None:
    ask = Asked(Provider("simulated"))
    reply = await ask(4, tier="reasoning")
    assert 1.0 <= ask.slept <= 2.5
    assert "".join(ask.said) == reply.text
    assert reply == await ask(4, tier="reasoning") != await ask(5, tier="reasoning")
    assert reply.simulated
    short = await ask(4, max_output=5)
    assert (len(short.text), short.ended) == (20, "length")


async def test_simulated_answers_fit_and_fail_as_often_as_they_should() -> None:
    schema = schema_of({"n": Type("integer"), "of": Type("choice", ("a", "b")), "all": Type("list")})
    assert not strict(schema)
    ask = Asked(Provider("simulated", options={"fails": 0.25, "throttles": 0.25}))
    kinds: list[tuple[str, float | None]] = []
    for seed in range(400):
        try:
            given = json.loads((await ask(seed, schema=schema)).text)
            assert given["of"] in ("a", "b")
            kinds.append(("", None))
        except StepError as error:
            kinds.append((error.fault.kind, error.fault.retry_after))
    assert set(kinds) == {("", None), ("server", None), ("rate_limit", 1.0)}
    assert 60 < kinds.count(("server", None)) < 140
    assert 60 < kinds.count(("rate_limit", 1.0)) < 140
