"""Spans of logs, before they are encoded: items, rounds, sub-workflows, reopened steps, many tasks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.telemetry.span import Span
from agentdeck.telemetry.span_fold import SpanFold
from agentdeck.trace_ids import trace_id, traceparent
from agentdeck.workflow.model import Definition
from tests.telemetry.recording import RUN, T, started, workflow


def fold(
    definition: Definition, events: Iterable[Any], tasks: int | None = 1, **nested: Definition
) -> list[Span]:
    made = SpanFold(RUN, {"": definition, **nested})
    whole = [started(definition, tasks), *events]
    return [span for seq, event in enumerate(whole, 1) for span in made.apply(seq, event)]


def tree(spans: list[Span], parent: str = "") -> list[Any]:
    """Names of spans, each followed by the list of those below it."""
    found: list[Any] = []
    for span in sorted((one for one in spans if one.parent == parent), key=lambda one: (one.start, one.end)):
        below = tree(spans, span.id)
        found += [span.name, below] if below else [span.name]
    return found


def step(name: str, since: float, until: float, task: str = "1", attempt: int = 1, agent: str = "") -> list[Any]:
    start = ev.StepStarted(T + since, task, name, agent or name.partition("[")[0], attempt, T + since)
    return [start, ev.StepSucceeded(T + until, task, name, attempt)]


def test_items_are_below_their_step_from_when_it_was_expanded(tmp_path: Path) -> None:
    text = "name: w\nagents: { a: { simulate: {} }, notes: { simulate: {}, needs: a, each: '[1, 2]' } }\n"
    spans = fold(
        workflow(tmp_path, text),
        [
            ev.TaskOpened(T, "1", {}),
            *step("a", 0, 1),
            ev.StepExpanded(T + 1, "1", "notes", 2),
            *step("notes[0]", 1, 2),
            *step("notes[1]", 2, 4),
            ev.StepDone(T + 4, "1", "notes"),
            ev.TaskEnded(T + 4, "1", "done"),
            ev.RunEnded(T + 4, "done"),
        ],
    )
    items = ["invoke_agent notes", ["attempt 1"], "invoke_agent notes", ["wait needs", "attempt 1"]]
    assert tree(spans) == ["invoke_workflow w", ["invoke_agent a", ["attempt 1"], "invoke_agent notes", items]]
    steps = {span.attributes["agentdeck.step"]: span for span in spans if span.name.startswith("invoke_agent")}
    assert {name: span.start - T for name, span in steps.items()} == {
        "a": 0,
        "notes": 0,
        "notes[0]": 1,
        "notes[1]": 1,
    }
    assert [link.span for link in steps["notes"].links] == [steps["a"].id]
    assert steps["notes[0]"].links == ()


def test_rounds_are_between_a_step_and_its_attempts(tmp_path: Path) -> None:
    text = "name: w\nagents: { draft: { simulate: {}, repeat: { until: 'false', max: 2 } } }\n"
    spans = fold(
        workflow(tmp_path, text),
        [
            ev.TaskOpened(T, "1", {}),
            *step("draft", 0, 1),
            ev.StepRepeated(T + 1, "1", "draft", 2),
            ev.StepStarted(T + 2, "1", "draft", "draft", 2, T + 1, round=2),
            ev.StepSucceeded(T + 3, "1", "draft", 2),
            ev.StepDone(T + 3, "1", "draft"),
            ev.TaskEnded(T + 3, "1", "done"),
            ev.RunEnded(T + 3, "done"),
        ],
    )
    rounds = ["round 1", ["attempt 1"], "round 2", ["wait pool", "attempt 2"]]
    assert tree(spans) == ["invoke_workflow w", ["invoke_agent draft", rounds]]


def test_a_sub_workflow_is_in_the_attempt_that_runs_it(tmp_path: Path) -> None:
    inner = workflow(tmp_path, "name: inner\nagents: { look: { simulate: {} } }\n", "inner.yaml")
    outer = workflow(tmp_path, "name: outer\nagents: { review: { workflow: inner.yaml } }\n")
    spans = fold(
        outer,
        [
            ev.TaskOpened(T, "1", {}),
            ev.StepStarted(T, "1", "review", "review", 1, T),
            ev.TaskOpened(T, "1/review", {}, ("1", "review")),
            *step("look", 0, 1, "1/review"),
            ev.TaskEnded(T + 1, "1/review", "done"),
            ev.StepSucceeded(T + 1, "1", "review", 1),
            ev.TaskEnded(T + 1, "1", "done"),
            ev.RunEnded(T + 1, "done"),
        ],
        review=inner,
    )
    below = ["attempt 1", ["invoke_workflow inner", ["invoke_agent look", ["attempt 1"]]]]
    assert tree(spans) == ["invoke_workflow outer", ["invoke_agent review", below]]
    assert len({span.trace for span in spans}) == 1


TWO = "name: w\nagents:\n  a: { simulate: {} }\n  b: { simulate: {}, needs: a }\n"
FAILED = [
    ev.TaskOpened(T, "1", {}),
    *step("a", 0, 1),
    ev.StepStarted(T + 1, "1", "b", "b", 1, T + 1),
    ev.AttemptFailed(T + 2, "1", "b", 1, Fault("exception", "no")),
    ev.StepFailed(T + 2, "1", "b", Fault("exception", "no")),
    ev.TaskEnded(T + 2, "1", "failed", None, Fault("exception", "no")),
    ev.RunEnded(T + 2, "failed"),
]
RETRIED = [
    ev.RunResumed(T + 10, 8.0),
    ev.StepReopened(T + 10, "1", "b", was="failed", again={"b": "failed"}),
    ev.StepStarted(T + 11, "1", "b", "b", 2, T + 10),
    ev.StepSucceeded(T + 12, "1", "b", 2),
    ev.TaskEnded(T + 12, "1", "done"),
    ev.RunEnded(T + 12, "done"),
]


def test_what_is_reopened_gets_spans_of_its_own(tmp_path: Path) -> None:
    spans = fold(workflow(tmp_path, TWO), [*FAILED, *RETRIED])
    assert len({span.id for span in spans}) == len(spans)
    first = ["invoke_agent a", ["attempt 1"], "invoke_agent b", ["wait needs", "attempt 1"]]
    second = ["invoke_agent b", ["wait pool", "attempt 2"]]
    assert tree(spans) == ["invoke_workflow w", first, "invoke_workflow w", second]
    roots = [span for span in spans if not span.parent]
    assert [(span.error, span.start - T, span.end - T) for span in roots] == [("exception", 0, 2), ("", 10, 12)]
    a, b = (next(span for span in spans if span.name == f"invoke_agent {name}") for name in "ab")
    again = [span for span in spans if span.name == "invoke_agent b"][1]
    assert [link.span for link in b.links] == [link.span for link in again.links] == [a.id]


def test_tasks_of_a_run_of_many_are_traces_that_link_to_the_run(tmp_path: Path) -> None:
    definition = workflow(tmp_path, "name: w\nagents: { a: { simulate: {} } }\n")
    events: list[Any] = []
    for n in range(3):
        task, at = str(n + 1), T + n
        events += [ev.TaskOpened(at, task, {}), *step("a", n, n + 1, task), ev.TaskEnded(at + 1, task, "done")]
    events.insert(1, ev.LimitChanged(T + 0.5, "workers", 4, 8, "ada"))
    spans = fold(definition, [*events, ev.RunEnded(T + 4, "done")], tasks=3)
    roots = [span for span in spans if not span.parent]
    assert [span.name for span in roots] == ["invoke_workflow w"] * 3 + ["run w"]
    assert [span.trace for span in roots] == [
        trace_id(RUN, "1"),
        trace_id(RUN, "2"),
        trace_id(RUN, "3"),
        trace_id(RUN),
    ]
    run = roots[-1]
    assert all([(link.trace, link.span) for link in root.links] == [(run.trace, run.id)] for root in roots[:3])
    assert (run.attributes["agentdeck.tasks"], run.attributes["agentdeck.tasks.done"]) == (3, 3)
    assert [(one.name, one.attributes["agentdeck.text"]) for one in run.events] == [
        ("limit", "workers: 4 -> 8, by ada")
    ]


def test_ended_tasks_are_forgotten(tmp_path: Path) -> None:
    definition = workflow(tmp_path, "name: w\nagents: { a: { simulate: {} } }\n")
    made = SpanFold(RUN, {"": definition})
    made.apply(1, started(definition, None))
    most = 0
    for n in range(500):
        for event in (
            ev.TaskOpened(T, str(n), {}),
            *step("a", 0, 1, str(n)),
            ev.TaskEnded(T + 1, str(n), "done"),
        ):
            made.apply(n + 2, event)
            most = max(most, len(made.open_tasks))
    assert (most, len(made.open_tasks)) == (1, 0)


def test_an_attempt_whose_process_died_is_an_error(tmp_path: Path) -> None:
    spans = fold(
        workflow(tmp_path, TWO),
        [
            ev.TaskOpened(T, "1", {}),
            ev.StepStarted(T, "1", "a", "a", 1, T),
            ev.RunResumed(T + 100, 99.0),
            ev.AttemptLost(T + 100, "1", "a", 1),
            *step("a", 101, 102, attempt=2),
        ],
    )
    assert [(span.name, span.error) for span in spans] == [
        ("attempt 1", "lost"),
        ("wait needs", ""),
        ("attempt 2", ""),
        ("invoke_agent a", ""),
    ]


def test_a_step_that_is_cancelled_is_no_error(tmp_path: Path) -> None:
    spans = fold(
        workflow(tmp_path, TWO),
        [
            ev.TaskOpened(T, "1", {}),
            ev.StepStarted(T, "1", "a", "a", 1, T),
            ev.StepCancelled(T + 1, "1", "a", "not needed"),
            ev.TaskEnded(T + 1, "1", "cancelled"),
        ],
    )
    states = {span.name: (span.error, span.attributes.get("agentdeck.step.state")) for span in spans}
    assert states == {"attempt 1": ("", None), "invoke_agent a": ("", "cancelled")}


def test_what_happened_to_a_step_is_an_event_of_its_span(tmp_path: Path) -> None:
    spans = fold(
        workflow(tmp_path, TWO),
        [
            ev.TaskOpened(T, "1", {}),
            ev.StepFellBack(T + 1, "1", "a", "b"),
            ev.Noted(T + 2, "the prompt asks for 3 x MS-12", "1", "a", {"asks": "?"}),
            *step("a", 3, 4, agent="b"),
        ],
    )
    found = next(span for span in spans if span.name == "invoke_agent a")
    assert [(one.name, list(one.attributes)) for one in found.events] == [
        ("fallback", ["agentdeck.text"]),
        ("noted", []),
    ]
    assert next(span for span in spans if span.name == "attempt 1").attributes["gen_ai.agent.name"] == "b"


def test_ids_follow_from_the_names_alone() -> None:
    """Other programs may derive them: they do not change between versions."""
    assert trace_id("r1", "1") == trace_id("r1", "1/review[0]/check")
    assert traceparent("r1", "1", "pay", 2) == "00-c5443774f3cc2bf2f76ba731cc2718bc-1f36ca4b724e606e-01"


def inside(number: int, name: str, since: float, until: float | None, kind: str = "node", parent: int = 0,
           usage: ev.Usage | None = None, fault: Fault | None = None) -> list[Any]:  # fmt: skip
    start = ev.InnerStarted(T + since, "1", "a", 1, number, name, parent, kind, {"q": "secret"})
    return [start] if until is None else [start, ev.InnerEnded(T + until, "1", "a", 1, number, "x", fault, usage)]


def test_inner_steps_are_in_their_attempt_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    used = ev.Usage(10, 4, 2, 0.5, model="m")
    critic, end_of_critic = inside(1, "critic", 0.0, 0.8)
    spans = fold(
        workflow(tmp_path, "name: w\nagents: { a: { simulate: {} } }\n"),
        [
            ev.TaskOpened(T, "1", {}),
            ev.StepStarted(T, "1", "a", "a", 1, T),
            ev.AttemptPlaced(T, "1", "a", 1, "w1"),
            critic,
            *inside(2, "llm", 0.1, 0.2, "model", 1, used),
            *inside(3, "search", 0.3, 0.4, "tool", 1, fault=Fault("exception", "no answer")),
            end_of_critic,
            *inside(4, "check", 0.9, None),
            ev.StepSucceeded(T + 1, "1", "a", 1, usage=ev.Usage(13, 4, 2, 0.75, model="m")),
            ev.TaskEnded(T + 1, "1", "done"),
            ev.RunEnded(T + 1, "done"),
        ],
    )
    below = ["attempt 1", ["critic", ["chat m", "execute_tool search"], "check"]]
    assert tree(spans) == ["invoke_workflow w", ["invoke_agent a", below]]
    by_name = {span.name: span for span in spans}
    chat, attempt = by_name["chat m"].attributes, by_name["attempt 1"].attributes
    assert (chat["gen_ai.operation.name"], chat["gen_ai.request.model"]) == ("chat", "m")
    tokens, usd = "gen_ai.usage.input_tokens", "agentdeck.usd"
    assert [(one[tokens], one[usd]) for one in (chat, attempt)] == [(10, 0.5), (3, 0.25)]
    assert "gen_ai.usage.output_tokens" not in attempt
    assert attempt["agentdeck.inner.count"] == 4
    assert attempt["agentdeck.worker"] == "w1"
    assert by_name["execute_tool search"].error == "exception"
    assert by_name["check"].end == T + 1, "it ended with its attempt"
    assert "secret" not in repr(spans)


def test_so_many_inner_steps_of_an_attempt_have_spans(tmp_path: Path) -> None:
    used = ev.Usage(1, 1, model="m")
    many = [one for n in range(1, 1301) for one in inside(n, "node", 0.1, 0.2, "model", 0, used)]
    spans = fold(
        workflow(tmp_path, "name: w\nagents: { a: { simulate: {} } }\n"),
        [
            ev.TaskOpened(T, "1", {}),
            ev.StepStarted(T, "1", "a", "a", 1, T),
            *many,
            ev.StepSucceeded(T + 1, "1", "a", 1, usage=ev.Usage(1300, 1300, model="m")),
            ev.TaskEnded(T + 1, "1", "done"),
        ],
    )
    (attempt,) = (span for span in spans if span.name == "attempt 1")
    assert sum(span.name == "chat m" for span in spans) == 1000
    assert attempt.attributes["gen_ai.usage.input_tokens"] == 300
