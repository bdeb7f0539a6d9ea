"""Gives the attempts of an agent the gateway: a key of their own, as long as they last."""

from __future__ import annotations

from agentdeck.agents.secret_masking import SecretMaskingVerb
from agentdeck.agents.verb import AttemptContext, Verb, VerbResult
from agentdeck.gateway.gateway import Gateway
from agentdeck.workflow.model import Data


class GatewayVerb:
    """A verb whose attempts find the gateway in `work.gateway`. The key is masked in their logs and results."""

    def __init__(self, verb: Verb, gateway: Gateway) -> None:
        self._verb = verb
        self._gateway = gateway

    async def run(self, work: AttemptContext) -> Data | VerbResult:
        with self._gateway.admit((work.task, work.step, work.attempt), work.alive) as access:
            work.gateway = await self._gateway.environment(access)
            return await SecretMaskingVerb(self._verb, access.mask).run(work)
