"""`prompt`: answered by the simulated provider, with no key and no network."""

from __future__ import annotations

from random import Random

from agentdeck.agents.invent import fitting, text
from agentdeck.agents.verb import Answer, Setting, Work
from agentdeck.core.events import Usage
from agentdeck.workflow.model import Agent, Prompt
from agentdeck.workflow.values import compile_template, show

#: Seconds that an answer takes, by tier.
LATENCY = {"routing": (0.2, 0.5), "execution": (0.5, 1.2), "reasoning": (1.0, 2.5)}
CHARACTERS_PER_TOKEN = 4


class PromptVerb:
    """The same prompt at the same step is answered alike in every run."""

    def __init__(self, agent: Agent, setting: Setting) -> None:
        assert isinstance(agent.does, Prompt)
        self._sleep = setting.sleep
        self._text = compile_template(agent.does.text)
        self._system = compile_template(agent.does.system or "")
        self._latency = LATENCY.get(agent.tier or "execution", LATENCY["execution"])

    async def run(self, work: Work) -> Answer:
        random = Random(work.seed)
        question = show(self._text.render(work.scope))
        asked = show(self._system.render(work.scope)) + question
        answer = " ".join([*question[:200].split()[:6], text(random, random.randint(20, 60))])
        words, takes = answer.split(), random.uniform(*self._latency)
        for at in range(0, len(words), 10):
            await self._sleep(takes * min(10, len(words) - at) / len(words))
            work.log(" ".join(words[at : at + 10]))
        output = fitting(work.agent.output, random) if work.agent.output else answer
        tokens = len(asked) // CHARACTERS_PER_TOKEN + 1, len(answer) // CHARACTERS_PER_TOKEN + 1
        return Answer(output, Usage(*tokens, simulated=True, model="simulated"))
