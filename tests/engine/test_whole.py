"""Whole runs, from files to a store on disk: what each setting of an agent promises, seen from outside."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import get_ident
from typing import Any

import anyio
import pytest

from agentdeck.engine.launch import Launch, Outcome, Watch, run
from agentdeck.engine.run_control import RunControl
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.workflow.expressions import Scope, Template
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Data
from tests.observing import EventCollector

pytestmark = pytest.mark.anyio

#: A program that notes its arguments, and answers with the last line of a file of answers, if there is one.
TOOL = """
import os, sys
with open("calls", "a") as calls: calls.write(" ".join(sys.argv[1:]) + "\\n")
answers = open("answers").read().split("\\n") if os.path.exists("answers") else [""]
print(answers[min(len(open("calls").readlines()), len(answers)) - 1])
"""


class Place:
    """A folder with workflows, a tool and a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = folder / "deck.db"
        (folder / "tool.py").write_text(TOOL)

    def write(self, name: str, *agents: str, top: str = "") -> None:
        tool = json.dumps([sys.executable, "tool.py"])[:-1]
        lines = "".join(f"  {line}\n" for line in agents).replace("[tool", tool)
        (self.folder / name).write_text(f"agentdeck: 1\nname: {Path(name).stem}\n{top}agents:\n{lines}")

    async def run(
        self, *agents: str, top: str = "", steer: Any = None, yes: bool = False, **inputs: Any
    ) -> Outcome:
        self.write("w.yaml", *agents, top=top)
        launch = Launch(load(self.folder / "w.yaml").definition, self.folder, inputs, db=self.db, yes=yes)
        control = RunControl("ada")

        def seen(event: ev.Event) -> None:
            if steer is not None:
                steer(control, event)

        return await run(launch, Watch([EventCollector(seen)], None, control))

    def answers(self, *lines: str) -> None:
        (self.folder / "answers").write_text("\n".join(lines))

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def recorded(self, outcome: Outcome, kind: type) -> list[Any]:
        reader = Reader(self.db)
        found = [event for _, event in reader.events(outcome.run) if isinstance(event, kind)]
        reader.close()
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("answers", "kinds", "tiers"),
    [
        (["{}", '{"n": "many"}', '{"n": 3}'], ["invalid", "invalid"], [0, 1, 2]),
        (["{}", "", '{"n": 3}'], ["invalid", "exit"], [0, 1, 1]),
        (["", "", '{"n": 3}'], ["exit", "exit"], [0, 0, 0]),
    ],
)
async def test_only_an_invalid_answer_goes_a_tier_up(
    place: Place, answers: list[str], kinds: list[str], tiers: list[int]
) -> None:
    place.answers(*answers)
    tool = place.folder / "tool.py"
    tool.write_text(tool.read_text().replace("print(", "sys.exit(3) if not (said := ").rstrip()[:-1]
                    + ") else print(said)\n")  # fmt: skip
    outcome = await place.run(
        "a: { command: [tool], output: { n: integer }, retry: { attempts: 3, delay: 1ms, escalate: true } }"
    )
    assert (outcome.state, outcome.view.output) == ("done", {"n": 3})
    assert [e.fault.kind for e in place.recorded(outcome, ev.AttemptFailed)] == kinds
    assert [e.tier_up for e in place.recorded(outcome, ev.StepStarted)] == tiers


async def test_a_cached_result_is_shared_by_runs_until_anything_of_it_changes(place: Place) -> None:
    place.answers("1", "2", "3")
    agent = "a: { command: [tool, '${inputs.n}'], cache: 1h }"
    top = "inputs: { n: integer }\n"
    assert (await place.run(agent, top=top, n=1)).view.output == 1
    again = await place.run(agent, top=top, n=1)
    assert (again.view.output, [e.reused for e in place.recorded(again, ev.StepSucceeded)]) == (1, [True])
    assert (await place.run(agent, top=top, n=2)).view.output == 2
    assert (await place.run(agent.replace("}'", "} more'"), top=top, n=1)).view.output == 3
    assert place.calls == ["1", "2", "1 more"]


async def test_an_answer_that_does_not_fit_is_never_cached(place: Place) -> None:
    place.answers('{"n": "many"}', '{"n": 5}', '{"n": 6}')
    agent = "a: { command: [tool], cache: 1h, output: { n: integer }, retry: { attempts: 2, delay: 1ms } }"
    assert (await place.run(agent)).view.output == {"n": 5}
    assert (await place.run(agent)).view.output == {"n": 5}
    assert len(place.calls) == 2


async def test_a_typed_answer_is_the_same_from_the_cache(place: Place) -> None:
    place.answers('{"n": 5}')
    agent = "a: { command: [tool], cache: 1h, output: { n: integer } }"
    (place.folder / "tool.py").write_text('print("""Well:\\n```json\\n{"n": 5}\\n```""")')
    assert (await place.run(agent)).view.output == {"n": 5}
    again = await place.run(agent)
    assert (again.view.output, place.recorded(again, ev.StepSucceeded)[0].reused) == ({"n": 5}, True)


async def test_what_took_effect_once_is_not_done_again_to_please_its_type(place: Place) -> None:
    place.answers('{"n": "many"}', '{"n": 5}')
    agent = "a: { command: [tool], once: pay, output: { n: integer }, retry: { attempts: 2, delay: 1ms } }"
    outcome = await place.run(agent)
    assert outcome.state == "failed"
    assert [e.fault.kind for e in place.recorded(outcome, ev.StepFailed)] == ["invalid"]
    assert len(place.calls) == 1


async def test_expect_reads_inputs_and_what_came_before(place: Place) -> None:
    place.answers('{"text": "ab"}', '{"text": "abc"}', '{"text": "abcd"}')
    outcome = await place.run(
        "least: { simulate: { takes: 1ms, returns: 3 } }",
        "a: { needs: least, command: [tool], expect: 'len(output.text) > least and inputs.strict', "
        "retry: { attempts: 5, delay: 1ms } }",
        top="inputs: { strict: { type: boolean, default: true } }\n",
    )
    assert outcome.view.output == {"text": "abcd"}
    faults = [e.fault for e in place.recorded(outcome, ev.AttemptFailed)]
    assert [fault.kind for fault in faults] == ["invalid", "invalid"]
    assert faults[0].message == "expect: len(output.text) > least and inputs.strict is false"


async def test_repeat_gives_the_program_its_previous_answer(place: Place) -> None:
    place.answers('{"score": 3}', '{"score": 6}', '{"score": 9}', '{"score": 12}')
    agent = "a: { command: [tool, '${previous.score}'], repeat: { until: output.score > %s, max: 3 } }"
    outcome = await place.run(agent % 8, "b: { simulate: { takes: 1ms, returns: '${a.score}' } }")
    assert (outcome.view.output, place.calls) == (9, ["", "3", "6"])
    (place.folder / "calls").unlink()
    assert (await place.run(agent % 100)).view.output == {"score": 9}, "the last one, where none was enough"


async def test_a_progressive_join_takes_each_as_it_comes(place: Place) -> None:
    outcome = await place.run(
        "slow: { simulate: { takes: 200ms, returns: slow } }",
        "quick: { simulate: { takes: 1ms, returns: quick } }",
        "never: { when: 'false', simulate: { takes: 1ms, returns: never } }",
        "merge: { needs: [slow, quick, never], join: progressive, "
        "simulate: { takes: 1ms, returns: '${previous}+${item}' } }",
        "after: { simulate: { takes: 1ms, returns: '${merge}!' } }",
    )
    assert outcome.view.output == "+quick+slow!"
    rounds = [e for e in place.recorded(outcome, ev.StepStarted) if e.step == "merge"]
    assert len(rounds) == 2
    assert len([e for e in place.recorded(outcome, ev.StepStarted) if e.step == "after"]) == 1


async def test_dispatch_goes_by_the_tasks_type(place: Place) -> None:
    agents = (
        "route: { dispatch: inputs.type, cases: { refund: pay, question: answer }, otherwise: person }",
        "pay: { needs: route, command: [tool, paid] }",
        "answer: { needs: route, command: [tool, answered] }",
        "person: { needs: route, command: [tool, asked] }",
        "end: { needs: [pay, answer, person], simulate: { takes: 1ms, returns: '${needs}' } }",
    )
    top = "inputs: { type: string }\n"
    for kind, chosen in (("refund", "pay"), ("question", "answer"), ("anything", "person")):
        outcome = await place.run(*agents, top=top, type=kind)
        assert outcome.state == "done"
        started = {e.step for e in place.recorded(outcome, ev.StepStarted)} - {"route", "end"}
        skipped = {e.step for e in place.recorded(outcome, ev.StepSkipped)}
        assert (started, skipped) == ({chosen}, {"pay", "answer", "person"} - {chosen})
    assert place.calls == ["paid", "answered", "asked"]


async def test_workflows_within_workflows_within_workflows(place: Place) -> None:
    (place.folder / "deep").mkdir()
    place.write("deep/inner.yaml", "count: { python: 'counting:count' }", top="inputs: { n: integer }\n")
    (place.folder / "deep" / "counting.py").write_text("def count(n): return n + 1\n")
    place.write(
        "middle.yaml",
        "twice: { each: '[inputs.n, inputs.n * 10]', workflow: deep/inner.yaml, with: { n: '${item}' } }",
        top="inputs: { n: integer }\noutput: '${sum(twice)}'\n",
    )
    outcome = await place.run(
        "sub: { workflow: middle.yaml, with: { n: '${inputs.n}' } }",
        "end: { simulate: { takes: 1ms, returns: '${sub + 1}' } }",
        top="inputs: { n: integer }\n",
        n=3,
    )
    assert (outcome.state, outcome.view.output) == ("done", 4 + 31 + 1)
    opened = {e.task for e in place.recorded(outcome, ev.TaskOpened)}
    assert opened == {"1", "1/sub", "1/sub/twice[0]", "1/sub/twice[1]"}


async def test_what_fails_deep_inside_is_told_at_the_top(place: Place) -> None:
    place.write("inner.yaml", "gone: { command: [no-such-command-here], retry: 1 }")
    place.write("middle.yaml", "sub: { workflow: inner.yaml }")
    outcome = await place.run("top: { workflow: middle.yaml }", "beside: { simulate: 1ms }")
    assert outcome.state == "failed"
    (ended,) = [e for e in place.recorded(outcome, ev.TaskEnded) if e.task == "1"]
    assert ended.fault.message.startswith("top: sub: gone: no such command: no-such-command-here")
    reader = Reader(place.db)
    assert [(one.task, one.step) for one in reader.letters(outcome.run)] == [("1/top/sub", "gone")]
    reader.close()


async def test_an_approvals_fields_reach_what_comes_after(place: Place) -> None:
    def answer(control: RunControl, event: ev.Event) -> None:
        if isinstance(event, ev.Noted) and event.step == "gate":
            assert event.data == {"asks": "Pay 7?", "shows": "for a 7"}
            control.send(
                lambda at: ev.StepAnswered(at, "1", "gate", True, {"reason": "fair", "share": 0.5}, "ada")
            )

    outcome = await place.run(
        "price: { simulate: { takes: 1ms, returns: 7 } }",
        "gate: { needs: price, approve: { ask: 'Pay ${price}?', show: 'for a ${price}', "
        "fields: { reason: string, share: number } } }",
        "pay: { when: gate.approved, command: [tool, '${gate.reason}', '${price * gate.share}'] }",
        steer=answer,
    )
    assert outcome.state == "done"
    assert place.calls == ["fair 3.5"]


@pytest.fixture
def large_in(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The threads in which values of more than 100,000 characters were rendered."""
    threads: set[int] = set()
    render = Template.render

    def spied(template: Template, scope: Scope) -> Data:
        value = render(template, scope)
        if len(json.dumps(value)) > 100_000:
            threads.add(get_ident())
        return value

    monkeypatch.setattr(Template, "render", spied)
    return threads


async def test_large_values_of_a_question_and_of_inputs_are_written_beside_the_loop(
    place: Place, large_in: set[int]
) -> None:
    place.write(
        "inner.yaml", "end: { simulate: 1ms }", top="inputs: { text: string }\noutput: '${len(inputs.text)}'\n"
    )
    outcome = await place.run(
        "gate: { approve: { ask: 'Look at ${inputs.many}?', show: 'This is ${inputs.many}' } }",
        "sub: { needs: gate, workflow: inner.yaml, with: { text: 'all ${inputs.many}' } }",
        top="inputs: { many: list }\noutput: '${sub}'\n",
        yes=False,
        steer=lambda control, event: (
            control.send(lambda at: ev.StepAnswered(at, "1", "gate", True, {}, "ada"))
            if isinstance(event, ev.Noted) and event.step == "gate"
            else None
        ),
        many=list(range(60_000)),
    )
    assert outcome.state == "done"
    assert outcome.view.output > 300_000
    assert large_in
    assert get_ident() not in large_in


async def test_a_large_output_of_a_workflow_is_rendered_beside_the_loop(place: Place, large_in: set[int]) -> None:
    place.write(
        "inner.yaml", "end: { simulate: 1ms }", top="inputs: { many: list }\noutput: 'below: ${inputs.many}'\n"
    )
    outcome = await place.run(
        "sub: { workflow: inner.yaml, with: { many: '${inputs.many}' } }",
        "next: { needs: sub, simulate: { takes: 1ms, returns: 7 } }",
        top="inputs: { many: list }\noutput: { text: 'all: ${sub}', last: '${next}' }\n",
        many=list(range(60_000)),
    )
    assert outcome.state == "done"
    assert outcome.view.output["text"].startswith("all: below: [0, 1, 2")
    assert outcome.view.output["last"] == 7
    assert large_in
    assert get_ident() not in large_in


async def test_a_large_output_that_cannot_be_rendered_fails_the_task(place: Place) -> None:
    outcome = await place.run(
        "end: { simulate: 1ms }", top="inputs: { many: list }\noutput: '${len(inputs.many) / 0}'\n",
        many=list(range(60_000)),
    )  # fmt: skip
    assert outcome.state == "failed"
    (ended,) = place.recorded(outcome, ev.TaskEnded)
    assert ended.fault is not None
    assert ended.fault.kind == "expression"
    assert ended.fault.message.startswith("output: len(inputs.many) / 0: division by zero")


async def test_a_question_that_is_no_text_is_asked_as_json(place: Place) -> None:
    asked: list[str] = []

    def answer(control: RunControl, event: ev.Event) -> None:
        if isinstance(event, ev.Noted) and event.step == "gate":
            asked.append(event.text)
            control.send(lambda at: ev.StepAnswered(at, "1", "gate", True, {}, "ada"))

    agent = "gate: { approve: { ask: '${inputs.what}' } }"
    await place.run(agent, top="inputs: { what: object }\n", steer=answer, what={"a": None, "b": True})
    assert [json.loads(text) for text in asked] == [{"a": None, "b": True}]


async def test_a_no_is_an_answer_like_any_other_and_time_gives_one_too(place: Place) -> None:
    def refuse(control: RunControl, event: ev.Event) -> None:
        if isinstance(event, ev.Noted):
            control.send(lambda at: ev.StepAnswered(at, "1", "gate", False, {}, "ada"))

    agents = (
        "gate: { approve: { ask: 'Pay?', within: 50ms, otherwise: %s } }",
        "pay: { when: gate.approved, command: [tool, paid] }",
        "tell: { when: not gate.approved, command: [tool, refused] }",
    )
    await place.run(*(agent.replace("%s", "approve").replace("50ms", "1h") for agent in agents), steer=refuse)
    await place.run(*(agent.replace("%s", "approve") for agent in agents))
    await place.run(*(agent.replace("%s", "reject") for agent in agents))
    assert place.calls == ["refused", "paid", "refused"]


async def test_a_tolerated_failure_is_null_in_what_comes_after(place: Place) -> None:
    outcome = await place.run(
        "weak: { command: [no-such-command-here], retry: 1, on_error: continue }",
        "good: { simulate: { takes: 1ms, returns: fine } }",
        "tell: { needs: [weak, good], simulate: { takes: 1ms, returns: "
        "{ text: 'weak: ${weak}', field: '${weak.a.b}', state: '${status(weak)}', why: '${error(weak)}', "
        "lacks: '${missing()}', all: '${needs}', instead: '${weak or 3}' } } }",
    )
    assert outcome.state == "done"
    told: Mapping[str, Any] = outcome.view.output
    assert told["text"] == "weak: "
    assert (told["field"], told["instead"], told["state"]) == (None, 3, "failed")
    assert "no such command" in told["why"]
    assert (told["lacks"], told["all"]) == (["weak"], {"good": "fine"})
    reader = Reader(place.db)
    assert [one.step for one in reader.letters(outcome.run)] == ["weak"], "tolerated or not, it is a letter"
    reader.close()


async def test_timeout_auto_follows_what_was_seen(place: Place) -> None:
    """Twenty attempts of about 20 ms: the twenty-first, which hangs, is not given its 30 s."""
    items = [0.02] * 20 + [20]
    (place.folder / "takes.py").write_text(
        "import asyncio\nasync def wait(item):\n    await asyncio.sleep(item)\n    return item\n"
    )
    with anyio.fail_after(15):
        outcome = await place.run(
            "a: { each: inputs.takes, max_parallel: 1, python: 'takes:wait', timeout: auto, retry: 1, "
            "on_error: continue }",
            top="inputs: { takes: list }\n",
            takes=items,
        )
    (failed,) = place.recorded(outcome, ev.AttemptFailed)
    assert (failed.step, failed.fault.clock) == ("a[20]", "attempt")
    assert outcome.state == "done"


async def test_fallback_gets_the_same_inputs_and_its_result_stands_for_both(place: Place) -> None:
    place.answers("second best")
    outcome = await place.run(
        "a: { command: [no-such-command-here, '${inputs.n}'], retry: 1, on_error: { fallback: b } }",
        "b: { spare: true, command: [tool, '${inputs.n}'] }",
        "end: { simulate: { takes: 1ms, returns: 'got ${a}' } }",
        top="inputs: { n: integer }\n",
        n=4,
    )
    assert (outcome.view.output, place.calls) == ("got second best", ["4"])
