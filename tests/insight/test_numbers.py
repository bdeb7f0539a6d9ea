from __future__ import annotations

import pytest

from agentdeck.insight.attention import AttentionCounts, attention_counts, attention_items
from agentdeck.insight.formatting import count, dollars, per_second, percent
from agentdeck.insight.limits import limits
from agentdeck.insight.throughput import Pace
from agentdeck.limits.provider_limits import range_of
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (9999, "9,999"), (12_345, "12.3k"), (1_234_567, "1.2M"), (250e6, "250M")]
)
def test_counts(value: float, text: str) -> None:
    assert count(value) == text


def test_amounts_and_shares() -> None:
    assert [dollars(n) for n in (None, 0, 0.0031, 1.5, 1234.4)] == ["–", "$0", "$0.0031", "$1.50", "$1,234"]
    assert [percent(n) for n in (None, 0, 0.5, 0.9996, 1)] == ["–", "0%", "50%", "99.9%", "100%"]
    assert [per_second(n) for n in (None, 2.04, 12_345)] == ["–/s", "2.0/s", "12.3k/s"]


def test_pace_looks_at_the_last_seconds_only_and_starts_anew_when_it_goes_back() -> None:
    pace = Pace(10.0)
    assert pace.per_second() is None
    for second in range(0, 100):
        pace.note(second, 5.0 * second)
    for second in range(100, 140):
        pace.note(second, 500.0 + 2.0 * (second - 100))
    assert pace.per_second() == pytest.approx(2.0)
    pace.note(50.0, 250.0)
    assert pace.per_second() is None


def test_ranges_go_by_the_last_part_of_the_name() -> None:
    assert range_of("agents.extract.attempts") == range_of("attempts") == (1, 1000)
    assert range_of("openai.requests")[0] == 0


def test_silence_is_measured_from_the_last_sign_of_life() -> None:
    view = RunView()
    view.apply(1, ev.RunStarted(0.0, "r", "w", "", {}, {"workers": 4}))
    view.apply(2, ev.TaskOpened(0.0, "A", {}))
    view.apply(3, ev.StepStarted(0.0, "A", "slow", "slow", 1, 0.0))
    assert attention_counts(view, 29.0) == AttentionCounts(0, 0, 0)
    assert attention_counts(view, 31.0) == AttentionCounts(0, 0, 1)
    assert attention_counts(view, 31.0, lambda task, step: 15.0) == AttentionCounts(0, 0, 0)
    assert list(attention_items(view, 29.0)) == []
    assert [need.why for need in attention_items(view, 31.0)] == ["silent"]


def test_a_limit_that_was_changed_is_listed_even_where_the_workflow_sets_none() -> None:
    view = RunView()
    view.apply(1, ev.RunStarted(0.0, "r", "w", "", {}, {"workers": 4}))
    view.apply(2, ev.LimitChanged(1.0, "openai.requests", 50, 80))
    assert [(limit.name, limit.value) for limit in limits(view, 1.0)] == [("workers", 4), ("openai.requests", 80)]
