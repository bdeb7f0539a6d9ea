"""What a run says of its tasks, of what was simulated, and of what it cost."""

from __future__ import annotations

import json
import re
import subprocess

from agentdeck.agents.simulate import Simulate
from agentdeck.insight.summary import simulation, summary, task_counts, unknown_cost
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Agent, Definition, Prompt
from tests.cli.conftest import Deck
from tests.waiting import until

SLEEPS = """
agentdeck: 1
name: sleeps
inputs: { n: integer }
agents: { a: { simulate: { takes: 50ms, returns: 1 } } }
"""


def cancelled(deck: Deck, *args: object, **streams: object) -> str:
    process = deck.start("run", deck.write("w.yaml", SLEEPS), "--workers", 4, *args)
    until(lambda: "task_ended" in deck.log())
    assert deck("cancel", "last").returncode == 0
    return process.communicate(timeout=60)[1]


def test_a_cancelled_run_counts_what_it_never_started(deck: Deck) -> None:
    given = deck.write("t.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(1000)))
    said = cancelled(deck, "--tasks", given)
    tasks = json.loads(deck("show", "last", "--json").stdout)["tasks"]
    assert tasks["total"] == 1000
    assert tasks["done"] + tasks["failed"] + tasks["cancelled"] + tasks["never_started"] == 1000
    assert tasks["never_started"] > 0
    assert set(re.findall(r"%: [\d,]+ of ([\d,]+)", said)) <= {"1,000"}  # not of those that were open
    left = f"{tasks['cancelled']} cancelled, {tasks['never_started']} never started"
    told = f"1,000 tasks: {tasks['done']:,} done, {left}"
    assert told in said
    assert f"tasks      {told}" in deck("show", "last").stdout
    assert f"{tasks['done']}/1,000" in deck("runs").stdout


def test_a_fork_of_a_cancelled_run_does_the_rest(deck: Deck) -> None:
    given = deck.write("t.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(200)))
    cancelled(deck, "--tasks", given)
    done = deck("fork", "last", "--out", "o.jsonl", "--json")
    assert done.returncode == 0, done.stderr
    tasks = json.loads(done.stdout)["tasks"]
    assert (tasks["total"], tasks["done"], tasks["never_started"]) == (200, 200, 0)
    inputs = [json.loads(line)["inputs"]["n"] for line in (deck.folder / "o.jsonl").read_text().splitlines()]
    assert inputs == list(range(200))


def test_a_fork_has_the_workers_of_the_run_or_those_it_is_given(deck: Deck) -> None:
    assert deck("run", deck.write("w.yaml", SLEEPS), "-i", "n=1", "--workers", 3).returncode == 0
    for more, workers in ((), 3), (("--set", "limits.workers=5"), 5):
        assert deck("fork", "last", "--from", "a", *more).returncode == 0
        (started,) = (
            json.loads(line)
            for line in deck("events", "last", "--json").stdout.splitlines()
            if "run_started" in line
        )
        assert started["limits"]["workers"] == workers
        assert json.loads(deck("limits", "last", "--json").stdout)["workers"] == workers


def test_a_run_that_stopped_early_lists_all_its_tasks(deck: Deck) -> None:
    given = deck.write("t.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(1000)))
    process = deck.start("run", deck.write("w.yaml", SLEEPS), "--workers", 4, "--tasks", given)
    until(lambda: "task_ended" in deck.log())
    assert deck("drain", "last").returncode == 0
    process.communicate(timeout=60)
    tasks = json.loads(deck("runs", "--json").stdout)[0]["tasks"]
    assert tasks["total"] == 1000
    assert f"{tasks['done']}/1,000" in deck("runs").stdout


def test_tasks_that_were_not_counted_are_at_least_so_many(deck: Deck) -> None:
    deck.write("w.yaml", SLEEPS)
    with subprocess.Popen(["yes", '{"n": 1}'], stdout=subprocess.PIPE) as endless:
        process = subprocess.Popen(
            deck.command(("run", "w.yaml", "--workers", 4, "--tasks", "-")),
            stdin=endless.stdout, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            cwd=deck.folder, env=deck.env,
        )  # fmt: skip
        deck.started.append(process)
        until(lambda: "task_ended" in deck.log())
        assert deck("cancel", "last").returncode == 0
        said = process.communicate(timeout=60)[1]
        endless.kill()
    tasks = json.loads(deck("show", "last", "--json").stdout)["tasks"]
    assert tasks["never_started"] is None
    assert f"at least {tasks['total']:,} tasks: {tasks['done']:,} done, {tasks['cancelled']} cancelled" in said


def folded(*events: ev.Event) -> RunView:
    agents = {
        "real": Agent("real", Prompt("?")),
        "made_up": Agent("made_up", Simulate()),
    }
    view = RunView(Definition("w", agents))
    for seq, event in enumerate(events, 1):
        view.apply(seq, event)
    return view


def answered(step: str, usage: ev.Usage) -> list[ev.Event]:
    return [
        ev.RunStarted(0.0, "r", "w", "", {}, {}),
        ev.TaskOpened(0.0, "1", {}),
        ev.StepStarted(0.0, "1", step, step, 1, 0.0),
        ev.StepSucceeded(1.0, "1", step, 1, "x", usage),
    ]


def test_one_simulated_agent_is_not_a_simulated_run() -> None:
    view = folded(*answered("made_up", ev.Usage(5, 5, simulated=True, model="simulated")))
    assert (view.simulated, simulation(view)) == (False, "1 agent simulated")
    assert summary(view).simulated_agents == 1
    view = folded(*answered("real", ev.Usage(5, 5, simulated=True, model="simulated")))
    assert (view.simulated, simulation(view)) == (True, "simulated")


def test_a_call_without_usage_is_not_a_model_without_a_price() -> None:
    view = folded(*answered("real", ev.Usage(None, None, model="m")))
    assert view.usd is None
    assert unknown_cost(view) == "usage missing for 1 call"
    assert summary(view).agents["real"].usage_missing == 1
    assert unknown_cost(folded(*answered("real", ev.Usage(5, 5, model="m")))) == "not every model has a price"
    assert unknown_cost(folded(*answered("real", ev.Usage(5, 5, usd=0.1, model="m")))) == ""


def test_a_log_of_version_0_1_counts_what_it_tells() -> None:
    view = folded(
        ev.RunStarted(0.0, "r", "w", "", {}, {}), ev.TaskOpened(0.0, "1", {}), ev.TasksExhausted(1.0, 1)
    )
    assert task_counts(view.tasks) == "0 tasks done, 1 open"
