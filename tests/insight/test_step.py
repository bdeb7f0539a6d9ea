"""The story of a step, from events and from a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agentdeck.errors import Fault
from agentdeck.insight.step import definition_for, step_story
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Definition


def workflow(folder: Path, text: str) -> Definition:
    (folder / "w.yaml").write_text("agentdeck: 1\nname: w\n" + text, encoding="utf-8")
    return load(folder / "w.yaml").definition


def played(
    definition: Definition, inputs: Mapping[str, Any], outcomes: Mapping[str, list[Any]]
) -> list[ev.Event]:
    """The events of one task: each attempt of a step ends with the next of its outcomes, a second later."""
    machine, log, at = Scheduler(Program(definition), run="r"), list[ev.Event](), 100.0
    left = {key: list(values) for key, values in outcomes.items()}
    waiting: list[ev.StepStarted] = []

    def feed(event: ev.Event | ev.Signal) -> None:
        for action in machine.handle(event):
            if isinstance(action, act.Record):
                log.append(action.event)
            elif isinstance(action, act.StartAttempt):
                waiting.append(action.started)

    feed(ev.RunStarted(at, "r", "w", definition.identity, {}, {}))
    feed(ev.TaskOpened(at, "1", dict(inputs)))
    feed(ev.TasksExhausted(at, 1))
    while waiting or machine.deadline < float("inf"):
        if not waiting:
            at = max(at, machine.deadline)
            feed(ev.TimerFired(at))
            continue
        begun, at = waiting.pop(0), at + 1
        outcome = left[begun.step].pop(0)
        if isinstance(outcome, Fault):
            feed(ev.AttemptFailed(at, "1", begun.step, begun.attempt, outcome))
        else:
            feed(ev.StepSucceeded(at, "1", begun.step, begun.attempt, outcome, ev.Usage(3, 4, usd=0.01)))
    return log


def test_what_was_asked_is_the_text_with_its_values(tmp_path: Path) -> None:
    definition = workflow(
        tmp_path,
        """
inputs: { pull: { type: string } }
agents:
  diff: { command: ["git", "diff", "${inputs.pull}"], with: { a: "${inputs.pull}" } }
  call: { needs: diff, http: { url: "http://h.test/${diff.n}", method: POST, body: { all: "${needs}" } } }
  merge: { needs: [diff, call], prompt: "Merge ${needs} of ${inputs.pull}", system: "Be kind" }
""",
    )
    log = played(definition, {"pull": "a b"}, {"diff": [{"n": 7}], "call": ["ok"], "merge": ["done"]})
    diff = step_story(definition, log, "1", "diff")
    assert diff.asked == {"command": "git diff 'a b'", "with": {"a": "a b"}}
    assert diff.inputs == {"inputs": {"pull": "a b"}}
    call = step_story(definition, log, "1", "call")
    assert call.asked == {"request": "POST http://h.test/7", "body": {"all": {"diff": {"n": 7}}}}
    merge = step_story(definition, log, "1", "merge")
    assert merge.asked["prompt"] == 'Merge {"diff": {"n": 7}, "call": "ok"} of a b'
    assert merge.asked["system"] == "Be kind"
    assert merge.inputs == {"inputs": {"pull": "a b"}, "diff": {"n": 7}, "call": "ok"}
    assert (merge.state, merge.output, merge.verb) == ("done", "done", "prompt")


def test_attempts_tell_their_errors_and_waits(tmp_path: Path) -> None:
    definition = workflow(tmp_path, "agents:\n  a: { simulate: {}, retry: { attempts: 3, delay: 8s } }\n")
    down = Fault("network", "cut off")
    told = step_story(definition, played(definition, {}, {"a": [down, down, 5]}), "1", "a")
    assert [(one.number, one.state, one.fault) for one in told.attempts] == [
        (1, "failed", down),
        (2, "failed", down),
        (3, "done", None),
    ]
    for one, after in zip(told.attempts, told.attempts[1:], strict=False):
        assert one.seconds == 1
        assert one.retry_for == "backoff"
        assert one.retry_at == after.started
    assert told.attempts[2].usage == ev.Usage(3, 4, usd=0.01)
    assert (told.state, told.output, told.fault) == ("done", 5, None)


def test_a_final_failure_says_why(tmp_path: Path) -> None:
    definition = workflow(tmp_path, "agents:\n  a: { simulate: {}, retry: 1 }\n  b: { needs: a, simulate: {} }\n")
    log = played(definition, {}, {"a": [Fault("permanent", "no such order")]})
    told = step_story(definition, log, "1", "a")
    assert (told.state, told.letter) == ("failed", True)
    assert told.fault is not None
    assert told.fault.message == "no such order"
    below = step_story(definition, log, "1", "b")
    assert (below.state, below.letter, below.attempts) == ("failed", False, [])


def test_items_and_their_group(tmp_path: Path) -> None:
    definition = workflow(
        tmp_path,
        """
agents:
  list: { simulate: {} }
  each: { needs: list, each: list.files, prompt: "Look at ${item}" }
""",
    )
    log = played(definition, {}, {"list": [{"files": ["x", "y"]}], "each[0]": ["X"], "each[1]": ["Y"]})
    item = step_story(definition, log, "1", "each[1]")
    assert item.asked["prompt"] == "Look at y"
    assert item.inputs["item"] == "y"
    group = step_story(definition, log, "1", "each")
    assert (group.size, group.output, group.state) == (2, ["X", "Y"], "done")


def test_rounds_see_the_one_before(tmp_path: Path) -> None:
    definition = workflow(
        tmp_path,
        'agents:\n  a: { prompt: "Better than ${previous}", repeat: { until: "output > 2", max: 5 } }\n',
    )
    told = step_story(definition, played(definition, {}, {"a": [1, 2, 3]}), "1", "a")
    assert told.asked["prompt"] == "Better than 2"
    assert told.inputs["previous"] == 2
    assert [one.round for one in told.attempts] == [1, 2, 3]
    assert (told.state, told.output) == ("done", 3)


def test_a_fallback_is_told_as_who_did_it(tmp_path: Path) -> None:
    definition = workflow(
        tmp_path,
        """
agents:
  a: { prompt: "hard", retry: 1, on_error: { fallback: b } }
  b: { prompt: "easy", spare: true }
""",
    )
    log = played(definition, {}, {"a": [Fault("server", "down"), "yes"]})
    told = step_story(definition, log, "1", "a")
    assert told.asked["prompt"] == "easy"
    assert [one.agent for one in told.attempts] == ["a", "b"]
    assert "fallback to b" in [text for _, text in told.notes]


def test_what_other_tasks_did_does_not_matter_and_without_a_definition_events_are_enough(tmp_path: Path) -> None:
    definition = workflow(tmp_path, 'agents:\n  a: { prompt: "x" }\n')
    log = played(definition, {}, {"a": ["one"]})
    log += [event._replace(task="2") for event in log if isinstance(event, ev.StepStarted)]
    told = step_story(None, log, "1", "a")
    assert (told.state, told.output, len(told.attempts), told.asked) == ("done", "one", 1, {})
    assert not step_story(definition, log, "1", "nobody").known


def test_a_task_below_a_sub_workflow_has_its_own_definition(tmp_path: Path) -> None:
    inner = "agentdeck: 1\nname: inner\nagents:\n  x: { prompt: deep }\n"
    (tmp_path / "inner.yaml").write_text(inner, encoding="utf-8")
    definition = workflow(tmp_path, "agents:\n  review: { workflow: inner.yaml }\n")
    found = definition_for(definition, tmp_path, "1/review")
    assert found is not None
    assert found.name == "inner"
    assert definition_for(definition, tmp_path, "1") is definition
    assert definition_for(definition, tmp_path, "1/nobody") is None


@pytest.mark.parametrize("evil", ["\x1b[31m", "[red]", "${inputs.a}"])
def test_values_are_data(tmp_path: Path, evil: str) -> None:
    definition = workflow(
        tmp_path, 'inputs: { a: { type: string } }\nagents:\n  a: { prompt: "Say ${inputs.a}" }\n'
    )
    told = step_story(definition, played(definition, {"a": evil}, {"a": [evil]}), "1", "a")
    assert told.asked["prompt"] == f"Say {evil}"
    assert told.output == evil
