"""Simulated agents, on a clock that only counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentdeck.agents.answer_check import OutputCheck
from agentdeck.agents.secret_masking import runner
from agentdeck.agents.simulate import Simulate
from agentdeck.agents.verb import AttemptContext, VerbResult, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.scheduler.events import Usage
from agentdeck.workflow.model import Agent, Data, Definition, Prompt, Type

pytestmark = pytest.mark.anyio
TYPED = {"severity": Type("choice", ("low", "high")), "count": Type("integer"), "comment": Type("string")}


class Trial:
    """Runs one attempt and keeps how long it took and what it said when."""

    def __init__(self) -> None:
        self.slept = 0.0
        self.said: list[tuple[float, str]] = []

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept += seconds

    async def run(self, agent: Agent, seed: int = 1, **scope: Data) -> VerbResult:
        def log(text: str, level: str = "info") -> None:
            self.said.append((round(self.slept, 3), text))

        verb = runner(agent, WorkflowContext(Definition("w", {"a": agent}), Path(), self.sleep))
        answer = await verb.run(AttemptContext("r", "t", "a", 1, agent, scope, {}, log, lambda: None, seed=seed))
        assert isinstance(answer, VerbResult)
        return answer


async def test_it_takes_its_time_and_says_its_lines() -> None:
    does = Simulate(takes=3, says=("reading ${inputs.n}", "writing"), returns={"n": "${inputs.n}"}, tokens=(5, 7))
    trial = Trial()
    answer = await trial.run(Agent("a", does), inputs={"n": 4})
    assert answer.output == {"n": 4}
    assert answer.usage == Usage(5, 7, simulated=True, model="simulated")
    assert trial.said == [(1.0, "reading 4"), (2.0, "writing")]
    assert trial.slept == pytest.approx(3)


async def test_jitter_stays_in_its_bounds_and_is_the_same_for_the_same_seed() -> None:
    times = []
    for seed in [*range(40), 0]:
        trial = Trial()
        await trial.run(Agent("a", Simulate(takes=2, jitter=0.5)), seed)
        times.append(trial.slept)
    assert all(1 <= time <= 3 for time in times)
    assert len(set(times)) == 40
    assert times[0] == times[-1]


async def test_it_fails_as_often_as_it_should() -> None:
    failed = []
    for seed in range(400):
        try:
            await Trial().run(Agent("a", Simulate(takes=1, fails=0.25)), seed)
        except StepError as error:
            failed.append(error.fault[:2])
    assert set(failed) == {("exception", "simulated failure")}
    assert 60 < len(failed) < 140


@pytest.mark.parametrize("does", [Simulate(), Prompt("Say")])
async def test_what_is_typed_fits(does: Any) -> None:
    agent = Agent("a", does, output=TYPED)
    for seed in range(20):
        answer = await Trial().run(agent, seed)
        assert OutputCheck(agent)(answer.output, {}) == answer.output


@pytest.mark.parametrize(
    ("tier", "least", "most"), [("routing", 0.2, 0.5), (None, 0.5, 1.2), ("reasoning", 1, 2.5)]
)
async def test_a_prompt_is_answered_alike(tier: str | None, least: float, most: float) -> None:
    agent = Agent("a", Prompt("Sum up ${inputs.name} for me", system="Be short"), tier=tier)
    first, second = Trial(), Trial()
    answer = await first.run(agent, 3, inputs={"name": "Ulysses"})
    assert answer == await second.run(agent, 3, inputs={"name": "Ulysses"})
    assert "Ulysses" in answer.output
    assert least <= first.slept <= most
    assert " ".join(text for _, text in first.said) == answer.output
    assert answer.usage is not None
    assert answer.usage.simulated
    assert answer.usage.tokens_in
    assert answer.usage.tokens_out == len(answer.output) // 4 + 1
