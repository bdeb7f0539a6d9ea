"""Whatever happens in a run: its spans are trees without gaps, and say the same as the run view."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from agentdeck.scheduler import events as ev
from agentdeck.telemetry.run_metrics import RunMetrics, Totals
from agentdeck.telemetry.span import Span
from agentdeck.telemetry.span_fold import SpanFold
from agentdeck.views.run_view import RunView
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Agent, Approve, Definition
from tests.scheduler.driver import Desk, Player, definition
from tests.scheduler.graphs import Action, actions, graphs, nested, operate, random_plan, randoms
from tests.views.test_agreement import WORKFLOWS, failing


def compare(log: list[ev.Event], of: Definition, below: dict[str, Definition]) -> None:
    view = RunView(of)
    fold, again = (SpanFold("r", {"": of, **below}) for _ in range(2))
    totals = Totals()
    metrics = RunMetrics("r", of, totals)
    spans: list[Span] = []
    for seq, event in enumerate(log, 1):
        view.apply(seq, event)
        metrics.apply(seq, event)
        spans += fold.apply(seq, event)
    assert [span for seq, event in enumerate(log, 1) for span in again.apply(seq, event)] == spans
    assert not fold.open_tasks
    compare_trees(spans)
    compare_attempts(spans, log)
    compare_waits(spans, view, totals)


def compare_trees(spans: list[Span]) -> None:
    """Each span is there once, and so is the one that contains it."""
    ids = Counter((span.trace, span.id) for span in spans)
    assert set(ids.values()) <= {1}
    by_id = {(span.trace, span.id): span for span in spans}
    for span in spans:
        assert span.start <= span.end
        assert not span.parent or (span.trace, span.parent) in by_id, span
        for link in span.links:
            assert (link.trace, link.span) in by_id, (span, link)
        if span.parent:
            outer = by_id[span.trace, span.parent]
            assert outer.start - 1e-6 <= span.start, (outer, span)


def compare_attempts(spans: list[Span], log: list[ev.Event]) -> None:
    """There is a span for each attempt that did any work."""
    started = Counter((e.task, e.step, e.attempt) for e in log if isinstance(e, ev.StepStarted))
    started.subtract((e.task, e.step, e.attempt) for e in log if isinstance(e, ev.AttemptDeferred))
    found = Counter(
        (known["agentdeck.task"], known["agentdeck.step"], known["agentdeck.attempt"])
        for known in (span.attributes for span in spans)
        if "agentdeck.attempt" in known and "agentdeck.inner" not in known
    )
    assert found == +started


def compare_waits(spans: list[Span], view: RunView, totals: Totals) -> None:
    """Waits add up to those of the run view, in spans and in metrics."""
    drawn: dict[str, float] = defaultdict(float)
    for span in spans:
        if span.name.startswith("wait "):
            drawn[span.name.removeprefix("wait ")] += span.end - span.start
    counted: dict[str, float] = defaultdict(float)
    for agent in view.agents.values():
        for reason, seconds in agent.waiting.items():
            counted[reason] += seconds
    measured: dict[str, float] = defaultdict(float)
    for _, labels, seconds in totals.waits.samples():
        if "le" not in dict(labels) and _ == "_sum":
            measured[dict(labels)["reason"]] += seconds
    for reason in {*drawn, *counted, *measured}:
        assert measured[reason] == pytest.approx(counted[reason], abs=1e-3), reason
        if reason == "needs":  # an item's span begins with its step's expansion, not with its task
            assert drawn[reason] <= counted[reason] + 1e-3
        else:
            assert drawn[reason] == pytest.approx(counted[reason], abs=1e-3), reason


@settings(phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(agents=graphs(), tasks=st.integers(1, 3), acts=actions(), random=randoms())
def test_spans_of_any_run(agents: list[Agent], tasks: int, acts: list[Action], random: Random) -> None:
    of, below = definition(*agents), nested(agents)
    player = Player(of, workers=3, tasks=tasks, plan=random_plan(random), nested=below)
    operate(player, acts, agents)
    while not player.finished:
        assert player.step()
    player.retry(*sorted(player.letters)[:3]).play(20_000)
    compare(player.log, of, below)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_spans_of_the_example_workflows(file: Path) -> None:
    of = load(file).definition
    player = Player(of, workers=3, tasks=3, desk=Desk(most=2), plan=lambda started: (1.0, failing(started)))
    for name, agent in of.agents.items():
        if isinstance(agent.does, Approve):
            for task in "123":
                player.at(200.0, ev.StepAnswered(200.0, task, name, task != "2", {}, "ada"))
    player.play(20_000)
    compare(player.log, of, {})
