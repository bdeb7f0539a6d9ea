"""What a provider's headers say it still takes is the most for `concurrent: auto`."""

from __future__ import annotations

import pytest

from agentdeck.limits.header_ceiling import HeaderCeiling
from agentdeck.limits.provider_health import ProviderHealth
from agentdeck.limits.reservations import Amounts


def test_what_is_left_grows_evenly_until_all_of_it_is_there() -> None:
    ceiling = HeaderCeiling()
    assert ceiling.calls(0.0) == float("inf")
    ceiling.record(100.0, "requests", 60, 2, 58.0)
    assert ceiling.calls(100.0) == pytest.approx(2.0)
    assert ceiling.calls(110.0) == pytest.approx(12.0)
    assert ceiling.calls(158.0) == float("inf"), "nothing is known any more"
    ceiling.record(110.0, "requests", 60, 30, 30.0)
    assert ceiling.calls(110.0) == pytest.approx(30.0)


def test_tokens_are_counted_in_calls() -> None:
    ceiling = HeaderCeiling()
    ceiling.record_use(Amounts(1, 400, 100))
    ceiling.record(0.0, "tokens", 10_000, 2_000, 60.0)
    assert ceiling.calls(0.0) == pytest.approx(4.0)
    ceiling.record(0.0, "output_tokens", 1_000, 200, 60.0)
    assert ceiling.calls(0.0) == pytest.approx(2.0)
    ceiling.record(0.0, "input_tokens", 1_000, 400, 60.0)
    assert ceiling.calls(0.0) == pytest.approx(1.0)


def test_it_bounds_the_places_that_were_found() -> None:
    health = ProviderHealth(lambda at, text: None, lambda provider, kind: "")
    assert health.places("p", 64, 0.0) == 4
    health.record_left("p", 0.0, "requests", 60, 2, 60.0)
    assert health.places("p", 64, 0.0) == 2
    health.record_left("p", 0.0, "requests", 60, 0, 60.0)
    assert health.places("p", 64, 0.0) == 1, "one call finds out when there is more"
    assert health.places("p", 64, 60.0) == 4
