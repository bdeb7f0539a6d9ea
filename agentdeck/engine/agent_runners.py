"""What executes the attempts of each agent of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from agentdeck.agents.verb import Verb, WorkflowContext
from agentdeck.engine.clock import Clock
from agentdeck.engine.closing import close_all
from agentdeck.engine.gateway_calls import GatewayCalls
from agentdeck.engine.observers import Warn
from agentdeck.engine.retry_rule import RetryRule, retry_rule
from agentdeck.engine.run_places import RunPlaces
from agentdeck.gateway.open_call import OpenCalls
from agentdeck.providers.provider import Closer, RateHeaders
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import Agent

if TYPE_CHECKING:
    from agentdeck.engine.launch import Launch
    from agentdeck.gateway.gateway import Gateway


class AgentRunners:
    """What executes the attempts of each agent of a run, where the agent's place is. What the agents of a program
    share is made for the first of them."""

    def __init__(self, launch: Launch, scheduler: Scheduler, clock: Clock, deck: Deck, places: RunPlaces) -> None:
        self._launch = launch
        self._program = scheduler.state.program
        self._deck = deck
        self.places = places
        self._made: dict[Program, WorkflowContext] = {}
        self._closing: list[Closer] = []
        self._open_calls = OpenCalls()
        self.calls = GatewayCalls(scheduler, clock, self._open_calls, places.keys.hide)
        self._gateway: Gateway | None = None
        #: Called with the rate limits in a provider's headers; set before the first context is made.
        self.record_headers: Callable[[str, RateHeaders], None]

    def runner(self, program: Program, agent: Agent) -> Verb:
        verb = self.places.places.find(agent.place).prepare(agent, self._context(program))
        if agent.name not in program.nested:
            return verb
        from agentdeck.agents.gateway_verb import GatewayVerb
        from agentdeck.gateway.gateway import Gateway

        if self._gateway is None:
            self._gateway = Gateway(self._deck, self.calls)
        return GatewayVerb(verb, self._gateway)

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
                self.places.children,
                self.places.keys,
                launch.db,
                self._open_calls,
            )
        return self._made[program]

    async def close(self, warn: Warn) -> int:
        """Close what the agents shared. Returns the number of calls that did not end."""
        gateway: list[Closer] = [("the gateway", self._gateway.close)] if self._gateway is not None else []
        late = await close_all([*gateway, *self.places.places.closers(), *self._closing], warn)
        await self.places.children.close()
        return late
