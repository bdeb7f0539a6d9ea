"""The providers and models of a deck; without a deck, the simulated provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import environ

from agentdeck.errors import ProviderError, StepError, UsageError
from agentdeck.processes.children import Children
from agentdeck.providers.keys import KeyStore, missing
from agentdeck.providers.prices import Prices
from agentdeck.providers.provider import Provider
from agentdeck.providers.secrets import check_secrets
from agentdeck.providers.tools import Toolbox
from agentdeck.scheduler.tiers import TIERS, tier_of
from agentdeck.workflow import deck as made
from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import Agent, Definition, Prompt
from agentdeck.workflow.name_hints import likely_fix

SIMULATED = "simulated"


def complete(deck: Deck) -> Deck:
    """The deck; one without models gets the simulated provider for every tier."""
    if deck.models:
        return deck
    return replace(
        deck,
        providers={**deck.providers, SIMULATED: made.Provider(SIMULATED)},
        models={SIMULATED: made.Model(SIMULATED, SIMULATED)},
        tiers=dict.fromkeys(TIERS, (SIMULATED,)),
    )


def models_for(deck: Deck, agent: Agent, tier_up: int = 0) -> tuple[str, ...]:
    """The models that may answer an agent, the preferred one first. Raises UsageError where there is none."""
    if not deck.models or deck.models.keys() == {SIMULATED}:
        return (SIMULATED,)
    assert isinstance(agent.does, Prompt)
    named = agent.does.model
    where = deck.file.name if deck.file else "the deck"
    if named is not None and tier_up <= 0:
        if named not in deck.models:
            raise UsageError(_unknown(agent, "model", named, deck.models, where))
        return (named,)
    tier = tier_of(agent, tier_up)
    if tier not in deck.tiers:
        raise UsageError(_unknown(agent, "tier", tier, deck.tiers, where))
    return deck.tiers[tier]


def check_deck(deck: Deck, definitions: Iterable[Definition], env: Mapping[str, str] = environ) -> None:
    """Check that all that these workflows use can be called, as far as possible without calling it. Raises
    UsageError for a tier, model or tool that is not in the deck, ProviderError for a missing key."""
    workflows = list(definitions)
    check_secrets(deck, workflows, env)
    agents = [a for one in workflows for a in one.agents.values() if isinstance(a.does, Prompt)]
    if not agents or not deck.models:
        return
    where = deck.file.name if deck.file else "the deck"
    for name in dict.fromkeys(name for one in workflows for name in one.limits.providers):
        if name not in deck.providers:
            fix = likely_fix(name, deck.providers) or f"it has {', '.join(deck.providers)}"
            raise UsageError(f"limits: provider {name} is not in {where}; {fix}")
    faults = [*_provider_faults(deck, agents, env), *_tool_faults(deck, agents, env, where)]
    if faults:
        raise ProviderError("\n".join(dict.fromkeys(faults)))


def _provider_faults(deck: Deck, agents: Sequence[Agent], env: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the providers that these agents may call."""
    for name in dict.fromkeys(deck.models[m].provider for agent in agents for m in models_for(deck, agent)):
        provider = deck.providers[name]
        if what := missing(provider.key, env):
            yield f"provider {name} has no key: {what}"
        if provider.url is not None and not provider.url.startswith(("http://", "https://")):
            yield f"provider {name}: its url has to start with http:// or https://"


def _tool_faults(deck: Deck, agents: Sequence[Agent], env: Mapping[str, str], where: str) -> Iterator[str]:
    """What is wrong with the MCP servers of these agents' tools. Raises UsageError for one that is not in the
    deck."""
    for agent in agents:
        assert isinstance(agent.does, Prompt)
        for tool in agent.does.tools:
            name, slash, _ = tool.partition("/")
            if not slash:
                raise UsageError(f"{agent.name}: {tool!r} names no tool; write it as server/tool")
            if name not in deck.mcp:
                raise UsageError(_unknown(agent, "tools: the server", name, deck.mcp, where))
            server = deck.mcp[name]
            for value in (*server.env.values(), *server.headers.values()):
                if what := missing(value, env):
                    yield f"tools of {name}: {what}"


class ProviderRegistry:
    """Provider registry of a run; each provider is created on first use and shared by all prompts."""

    def __init__(
        self,
        deck: Deck,
        sleep: Callable[[float], Awaitable[None]],
        env: Mapping[str, str] = environ,
        children: Children | None = None,
        keys: KeyStore | None = None,
    ) -> None:
        self.deck = complete(deck)
        self.keys = keys or KeyStore(env, deck.secrets)
        self.prices = Prices(self.deck)
        self.tools = Toolbox(self.deck.mcp, self.keys, children)
        self._sleep = sleep
        self._providers: dict[str, Provider] = {}

    def provider(self, name: str) -> Provider:
        """The provider with this name in the deck."""
        if name not in self._providers:
            self._providers[name] = self._make(name)
        return self._providers[name]

    async def close(self) -> None:
        await self.tools.close()
        for provider in self._providers.values():
            await provider.close()

    def _make(self, name: str) -> Provider:
        spec = self.deck.providers[name]
        if spec.type == SIMULATED:
            from agentdeck.providers.simulated import SimulatedProvider

            return SimulatedProvider(name, spec, self._sleep)
        from agentdeck.providers.http_stream import EventStreamClient

        wire = EventStreamClient(name, self.keys.hide)
        if spec.type == "anthropic":
            from agentdeck.providers.anthropic import AnthropicProvider

            return AnthropicProvider(name, spec, self.keys, wire)
        if spec.type == "openai":
            from agentdeck.providers.openai import OpenAIProvider

            return OpenAIProvider(name, spec, self.keys, wire)
        raise StepError("setup", f"provider {name}: there is no type {spec.type}")


def _unknown(agent: Agent, what: str, name: str, known: Mapping[str, object], where: str) -> str:
    fix = likely_fix(name, known) or (f"it has {', '.join(known)}" if known else "it has none")
    return f"{agent.name}: {what} {name} is not in {where}; {fix}"
