"""Single steps, given how those before them ended, add up to what a whole run gives."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agentdeck import Workflow
from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.operations.single_step import Ended, Recording, SingleStep, output_of, reads, run_step, value
from agentdeck.store.reader import Reader
from agentdeck.views.task_outcome import StepOutcome, TaskOutcome
from agentdeck.workflow import graph
from agentdeck.workflow.loader import load, loads
from agentdeck.workflow.model import Data, Definition

DATA = Path(__file__).parents[1] / "data" / "exporting"
NOWHERE = Recording()


def step_of(text: str, agent: str, **given: Ended) -> SingleStep:
    definition = loads(f"agentdeck: 1\nname: small\n{text}").definition
    return SingleStep(definition, Path(), agent, before=given)


def done(output: Data = None) -> Ended:
    return Ended("done", output)


def run(step: SingleStep) -> StepOutcome:
    return asyncio.run(run_step(step, NOWHERE))


async def one_after_another(definition: Definition, folder: Path, inputs: dict[str, Data]) -> TaskOutcome:
    """Run each step by itself, as an orchestrator does that retries, expands and falls back."""
    ends: dict[str, Ended] = {}
    base = SingleStep(definition, folder, "", inputs)

    async def attempts(step: SingleStep) -> Ended:
        agent = definition.agents[step.agent]
        outcome = await run_step(step, NOWHERE)
        while outcome.state == "failed" and outcome.fault is not None:
            if outcome.fault.retryable and step.attempt < agent.retry.attempts:
                step = replace(step, attempt=step.attempt + 1)
            elif agent.on_error.fallback is not None and step.failed is None:
                step = replace(step, failed=outcome.fault)
            else:
                return Ended("failed", error=outcome.fault.message)
            outcome = await run_step(step, NOWHERE)
        return Ended(outcome.state, outcome.output)

    for name in graph.order({name: agent.needs for name, agent in definition.agents.items()}):
        agent = definition.agents[name]
        if agent.spare:
            continue
        before = {one: ends[one] for one in reads(definition, name)}
        step = replace(base, agent=name, before=before)
        if agent.each is None:
            ends[name] = await attempts(step)
            continue
        items = (await value(step, f"${{{agent.each}}}", NOWHERE)).output
        found = [await attempts(replace(step, item=number, size=len(items))) for number in range(len(items))]
        ends[name] = done([one.output for one in found])
    return await output_of(replace(base, before=ends), NOWHERE)


@pytest.mark.parametrize("speed", ["slow", "fast"])
def test_all_steps_by_themselves_give_what_the_whole_run_gives(speed: str) -> None:
    flow = Workflow.from_file(DATA / "features.yaml")
    whole = asyncio.run(flow.run(speed=speed))
    apart = asyncio.run(one_after_another(flow.definition, DATA, {"speed": speed}))
    assert apart.state == "done"
    assert apart.output == whole.output
    assert apart.output["needs"]["flaky"] == {"attempt": 2}
    assert apart.output["needs"]["broken"] == "spared {{ ti }} is ${data}"


def test_a_workflow_ends_failed_where_a_step_at_its_end_did() -> None:
    text = "agents:\n  a: { simulate: 0s }\n  b: { needs: a, simulate: 0s }"
    ended = asyncio.run(output_of(step_of(text, "", a=done(), b=Ended("failed", error="broke")), NOWHERE))
    assert ended.state == "failed"
    assert ended.cause is not None
    assert (ended.cause.step, ended.cause.fault.message) == ("b", "broke")


TWO = "agents:\n  a: { simulate: 0s }\n  b: { simulate: 0s }\n  c: { needs: [a, b], simulate: 0s, %s }"


@pytest.mark.parametrize(
    ("keys", "a", "b", "state"),
    [
        ("about: all", "done", "skipped", "done"),
        ("about: all", "skipped", "skipped", "skipped"),
        ("about: all", "done", "failed", "failed"),
        ("join: any", "done", "failed", "done"),
        ("join: any", "failed", "failed", "failed"),
        ("join: any", "failed", "skipped", "failed"),
        ("join: { quorum: 2 }", "done", "skipped", "failed"),
        ("join: { quorum: 50% }", "done", "skipped", "done"),
        ("join: { quorum: 2, within: 1h, min: 1 }", "done", "failed", "done"),
        ("join: progressive", "done", "done", "done"),
        ("when: a > 1", "done", "done", "skipped"),
    ],
)
def test_the_scheduler_decides_by_the_join(keys: str, a: str, b: str, state: str) -> None:
    outcome = run(step_of(TWO % keys, "c", a=Ended(a, 1), b=Ended(b, 1)))
    assert outcome.state == state


def test_a_need_that_has_not_ended_is_not_waited_for() -> None:
    text = TWO.replace("0s, %s", "{ takes: 0s, returns: '${needs}' }, join: any")
    assert run(step_of(text, "c", b=done(2))).output == {"b": 2}


def test_tolerated_failures_are_missing() -> None:
    text = (
        "agents:\n  a: { simulate: 0s, on_error: continue }\n"
        "  c: { needs: a, simulate: { takes: 0s, returns: '${missing()} ${error(a)}' } }"
    )
    assert run(step_of(text, "c", a=Ended("failed", error="no luck"))).output == '["a"] no luck'


def test_a_step_that_was_not_chosen_is_skipped() -> None:
    text = (
        "inputs: { way: string }\nagents:\n  gate: { dispatch: inputs.way, cases: { l: left, r: right } }\n"
        "  left: { needs: gate, simulate: 0s }\n  right: { needs: gate, simulate: 0s }"
    )
    gate = run(replace(step_of(text, "gate"), inputs={"way": "r"})).output
    assert gate == {"value": "r", "chosen": "right"}
    for agent, state in (("left", "skipped"), ("right", "done")):
        assert run(replace(step_of(text, agent, gate=done(gate)), inputs={"way": "r"})).state == state


def test_an_attempt_knows_its_number_and_a_rule_judges_it(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(
        "def fail(ctx): raise ValueError(f'attempt {ctx.attempt}')\n"
        "def worth(failed): return 'attempt 3' in failed.message\n"
    )
    retry = '{ attempts: 5, on: "rules:worth" }'
    text = f'agentdeck: 1\nname: rules\nagents:\n  a: {{ python: "rules:fail", retry: {retry} }}\n'
    (tmp_path / "flow.yaml").write_text(text)
    step = SingleStep(load(tmp_path / "flow.yaml").definition, tmp_path, "a")
    for attempt, worth in ((1, False), (3, True)):
        fault = run(replace(step, attempt=attempt)).fault
        assert fault is not None
        assert (fault.message, fault.retryable) == (f"ValueError: attempt {attempt}", worth)


def test_such_a_run_is_recorded_whole(tmp_path: Path) -> None:
    step = step_of(TWO % "about: all", "c", a=done(1), b=done(2))
    asyncio.run(run_step(step, Recording(tmp_path / "steps.db", ("airflow",))))
    with closing(Reader(tmp_path / "steps.db")) as reader:
        (row,) = reader.runs()
        kinds = [type(event).__name__ for _, event in reader.events(row.run)]
    assert (row.state, row.tags) == ("done", ("airflow",))
    assert kinds == [
        "RunStarted", "TaskOpened", "StepSucceeded", "StepSucceeded", "TasksExhausted",
        "StepStarted", "StepSucceeded", "TaskEnded", "RunEnded",
    ]  # fmt: skip


def test_what_cannot_be_run() -> None:
    with pytest.raises(UsageError, match="small has no agent d; there are a, b, c"):
        run(step_of(TWO % "about: all", "d"))
    with pytest.raises(UsageError, match="a is finished; a step is done, failed, skipped or cancelled"):
        run(step_of(TWO % "about: all", "c", a=Ended("finished"), b=done()))
    with pytest.raises(UsageError, match="small needs the input way"):
        run(step_of("inputs: { way: string }\nagents:\n  a: { simulate: 0s }", "a"))
    with pytest.raises(AgentdeckError, match=r"small: stopped, as nothing can continue .*: a asks for approval"):
        run(step_of("agents:\n  a: { approve: { ask: 'Continue?' } }", "a"))
