"""The providers and models of a deck; without a deck, the simulated provider."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import environ
from pathlib import Path

from agentdeck.errors import ProviderError, StepError, UsageError, described
from agentdeck.plugins import PLUGIN_ERRORS
from agentdeck.processes.children import Children
from agentdeck.providers.keys import SECRET_USE, KeyStore, missing
from agentdeck.providers.model_facts import Prices
from agentdeck.providers.provider import Closer, Provider
from agentdeck.providers.provider_type import ProviderContext, ProviderType, provider_type
from agentdeck.providers.tools import Toolbox
from agentdeck.scheduler.tiers import DEFAULT as TIER
from agentdeck.scheduler.tiers import TIERS, tier_of
from agentdeck.workflow import deck as made
from agentdeck.workflow.deck import Deck, Secret
from agentdeck.workflow.model import Agent, Definition, ModelCall, Prompt
from agentdeck.workflow.secret_references import secret_uses
from agentdeck.workflow.wording import likely_fix

#: The type, and the name, of the provider of a deck without models.
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


def simulates(deck: Deck) -> bool:
    """Whether a model of the deck has a provider whose answers are made up."""
    completed = complete(deck)
    used = {completed.providers[model.provider].type for model in completed.models.values()}
    return any(provider_type(name).simulated for name in used)


def models_for(deck: Deck, agent: Agent, tier_up: int = 0) -> tuple[str, ...]:
    """The models that may answer an agent, the preferred one first. Raises UsageError where there is none."""
    if not deck.models or deck.models.keys() == {SIMULATED}:
        return (SIMULATED,)
    assert isinstance(agent.does, Prompt)
    named = agent.does.model
    if named is not None and tier_up <= 0:
        if named not in deck.models:
            raise UsageError(_unknown(agent, "model", named, deck.models, deck))
        return (named,)
    tier = tier_of(agent, tier_up)
    if tier not in deck.tiers:
        raise UsageError(_unknown(agent, "tier", tier, deck.tiers, deck))
    return deck.tiers[tier]


def check_deck(deck: Deck, definitions: Iterable[Definition], env: Mapping[str, str] = environ) -> None:
    """Check that all that these workflows use can be called, as far as possible without calling it. Raises
    UsageError for a tier, model or tool that is not in the deck, ProviderError for a missing key."""
    workflows = list(definitions)
    _check_secrets(deck, workflows, env)
    agents = [agent for one in workflows for agent in one.agents.values()]
    prompts = [agent for agent in agents if _may_prompt(agent, deck)] if deck.models else []
    if prompts:
        for name in dict.fromkeys(name for one in workflows for name in one.limits.providers):
            if name not in deck.providers:
                fix = likely_fix(name, deck.providers) or f"it has {', '.join(deck.providers)}"
                raise UsageError(f"limits: provider {name} is not in {_name(deck)}; {fix}")
    calling = [a for a in agents if deck.models or not isinstance(a.does, Prompt)]  # else prompts are simulated
    faults = [*_provider_faults(deck, prompts, env), *_tool_faults(deck, calling, env)]
    if faults:
        raise ProviderError("\n".join(dict.fromkeys(faults)))


def _may_prompt(agent: Agent, deck: Deck) -> bool:
    """Whether an agent calls a model. Of all that can be called through the gateway, only what names are mapped
    to is expected to be."""
    if not isinstance(agent.does, ModelCall):
        return isinstance(agent.does, Prompt)
    mapped = deck.gateway.models.values() or (TIER,)
    return (agent.does.model or agent.tier) in mapped


def _check_secrets(deck: Deck, definitions: Iterable[Definition], env: Mapping[str, str]) -> None:
    """Check the secrets of these workflows, and of the MCP servers they use, as far as possible without reading
    them. Raises UsageError for one that is not in the deck, ProviderError for one without a value."""
    used: dict[str, None] = {}
    for definition in definitions:
        for use in secret_uses(definition):
            if use.name not in deck.secrets:
                fix = likely_fix(use.name, deck.secrets) or "it has none"
                raise UsageError(f"{use.agent}: the secret {use.name} is not in {_name(deck)}; {fix}")
            used[use.name] = None
        for agent in definition.agents.values():
            for tool in agent.does.mcp_tools():
                values = _values_of(deck, tool.partition("/")[0])
                used |= dict.fromkeys(name for value in values for name in SECRET_USE.findall(value))
    lacking = {name: what for name in used if (what := _lacking(deck.secrets[name], env))}
    if lacking:
        raise ProviderError("\n".join(f"the secret {name} has no value: {lacking[name]}" for name in lacking))


def _lacking(secret: Secret, env: Mapping[str, str]) -> str:
    """Why this secret cannot be read, as far as that is known without reading it; empty where nothing is
    wrong."""
    if secret.env is not None:
        return "" if env.get(secret.env) else f"{secret.env} is not set in the environment"
    if secret.file is not None:
        return "" if Path(secret.file).is_file() else f"there is no file {secret.file}"
    return "" if shutil.which(secret.command[0]) else f"there is no command {secret.command[0]}"


def _provider_faults(deck: Deck, agents: Sequence[Agent], env: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the providers that these agents may call."""
    for name in dict.fromkeys(deck.models[m].provider for agent in agents for m in models_for(deck, agent)):
        provider = deck.providers[name]
        if what := missing(provider.key, env):
            yield f"provider {name} has no key: {what}"
        if provider.url is not None and not provider.url.startswith(("http://", "https://")):
            yield f"provider {name}: its url has to start with http:// or https://"


def _tool_faults(deck: Deck, agents: Sequence[Agent], env: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the MCP servers of these agents' tools. Raises UsageError for one that is not in the
    deck."""
    for agent in agents:
        for tool in agent.does.mcp_tools():
            name, slash, _ = tool.partition("/")
            if not slash:
                raise UsageError(f"{agent.name}: {tool!r} is not a tool; write it as server/tool")
            if name not in deck.mcp:
                raise UsageError(_unknown(agent, "the MCP server", name, deck.mcp, deck))
            for value in _values_of(deck, name):
                if what := missing(value, env):
                    yield f"tools of {name}: {what}"


class ProviderRegistry:
    """Provider registry of a run; each provider is created on first use and shared by all prompts. `closing`
    collects what the run closes at its end; without it, `close` does that."""

    def __init__(
        self,
        deck: Deck,
        sleep: Callable[[float], Awaitable[None]],
        env: Mapping[str, str] = environ,
        children: Children | None = None,
        keys: KeyStore | None = None,
        closing: list[Closer] | None = None,
    ) -> None:
        self.deck = complete(deck)
        self.keys = keys or KeyStore(env, deck.secrets)
        self.prices = Prices(self.deck)
        self.tools = Toolbox(self.deck.mcp, self.keys, children)
        self._sleep = sleep
        self._providers: dict[str, Provider] = {}
        self._closing = [] if closing is None else closing
        self._closing.append(("the MCP servers", self.tools.close))

    def provider(self, name: str) -> Provider:
        """The provider with this name in the deck. Raises StepError of kind `setup` where its type's own code
        fails to create it."""
        if name not in self._providers:
            provider = self._providers[name] = self._make(name)
            self._closing.append((f"provider {name}", provider.close))
        return self._providers[name]

    def _make(self, name: str) -> Provider:
        context = ProviderContext(name, self.deck.providers[name], self.keys, self._sleep)
        try:
            made = self.type_of(name).create(context)
        except PLUGIN_ERRORS as error:
            what = f"provider {name} cannot be created: {described(error)}"
            raise StepError("setup", self.keys.hide(what)) from None
        for method in ("answer", "close"):
            if not callable(getattr(made, method, None)):
                what = f"its type returned {type(made).__name__}, which has no {method}()"
                raise StepError("setup", f"provider {name} cannot be created: {what}")
        return made

    def type_of(self, name: str) -> ProviderType:
        """The type of the provider with this name in the deck."""
        return provider_type(self.deck.providers[name].type)

    async def close(self) -> None:
        for _, close in self._closing:
            await close()


def _unknown(agent: Agent, what: str, name: str, known: Mapping[str, object], deck: Deck) -> str:
    fix = likely_fix(name, known) or (f"it has {', '.join(known)}" if known else "it has none")
    return f"{agent.name}: {what} {name} is not in {_name(deck)}; {fix}"


def _name(deck: Deck) -> str:
    return deck.file.name if deck.file else "the deck"


def _values_of(deck: Deck, server: str) -> Sequence[str]:
    """The values that may hold keys and secrets in an MCP server of the deck; none for an unknown one."""
    spec = deck.mcp.get(server)
    return (*spec.env.values(), *spec.headers.values()) if spec is not None else ()
