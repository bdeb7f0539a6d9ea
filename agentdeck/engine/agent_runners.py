"""What executes the attempts of each agent of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from agentdeck.agents.verb import Verb, WorkflowContext
from agentdeck.engine.closing import close_all
from agentdeck.engine.observers import Warn
from agentdeck.engine.retry_rule import RetryRule, retry_rule
from agentdeck.places.place import Places
from agentdeck.processes.children import Children
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.provider import Closer, RateHeaders
from agentdeck.scheduler.program import Program
from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import Agent

if TYPE_CHECKING:
    from agentdeck.engine.launch import Launch


class AgentRunners:
    """What executes the attempts of each agent of a run, where the agent's place is. What the agents of a program
    share is made for the first of them."""

    def __init__(self, launch: Launch, program: Program, deck: Deck, children: Children) -> None:
        self._launch = launch
        self._program = program
        self._deck = deck
        self._children = children
        self._keys = KeyStore(secrets=deck.secrets)
        self._places = Places(deck)
        self._made: dict[Program, WorkflowContext] = {}
        self._closing: list[Closer] = []
        #: Called with the rate limits in a provider's headers; set before the first context is made.
        self.record_headers: Callable[[str, RateHeaders], None]

    def runner(self, program: Program, agent: Agent) -> Verb:
        return self._places.find(agent.place).prepare(agent, self._context(program))

    def retry_rule(self, program: Program, agent: Agent) -> RetryRule | None:
        context = self._context(program)
        return retry_rule(agent.retry, context.folder, context.functions)

    def _context(self, program: Program) -> WorkflowContext:
        if program not in self._made:
            own = program is self._program
            definition, launch = program.definition, self._launch
            self._made[program] = WorkflowContext(
                definition,
                launch.folder if own else definition.folder or launch.folder,
                anyio.sleep,
                launch.functions if own else {},
                self._closing,
                self._deck,
                self.record_headers,
                self._children,
                self._keys,
                launch.db,
            )
        return self._made[program]

    async def close(self, warn: Warn) -> int:
        """Close what the agents shared. Returns the number of calls that did not end."""
        late = await close_all([*self._places.closers(), *self._closing], warn)
        await self._children.close()
        return late
