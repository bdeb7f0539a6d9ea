"""Runs the attempts of simulated agents."""

from __future__ import annotations

from random import Random

from agentdeck.agents.simulate import Simulate
from agentdeck.agents.template_rendering import render, render_text
from agentdeck.agents.verb import AttemptContext, VerbResult, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.providers.provider import schema_of
from agentdeck.providers.simulated import fitting
from agentdeck.scheduler.events import Usage
from agentdeck.workflow.expressions import Template
from agentdeck.workflow.model import Agent


class SimulateVerb:
    """Deterministic: an attempt of a step has the same outcome in every run."""

    def __init__(self, agent: Agent, setting: WorkflowContext) -> None:
        assert isinstance(agent.does, Simulate)
        self._does = agent.does
        self._sleep = setting.sleep
        self._says = [Template(line) for line in agent.does.says]
        self._returns = Template(agent.does.returns)

    async def run(self, work: AttemptContext) -> VerbResult:
        does, random = self._does, Random(work.seed)
        takes = max(0.0, does.takes * (1 + random.uniform(-does.jitter, does.jitter)))
        fails = random.random() < does.fails
        pause = takes / (len(self._says) + 1)
        for line in self._says:
            await self._sleep(pause)
            work.log(await render_text(line, work.scope))
        await self._sleep(pause)
        if fails:
            raise StepError("exception", "simulated failure")
        output = await render(self._returns, work.scope)
        if output is None and work.agent.output:
            output = fitting(schema_of(work.agent.output), random)
        tokens_in, tokens_out = does.tokens
        if not tokens_in and not tokens_out:
            return VerbResult(output)
        return VerbResult(output, Usage(tokens_in, tokens_out, simulated=True, model="simulated"))
