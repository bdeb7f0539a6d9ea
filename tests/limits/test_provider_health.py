"""Several processes at one provider: what one was told holds for all, and their bursts do not add up."""

from __future__ import annotations

from agentdeck.errors import Fault
from agentdeck.limits.circuit_breaker import FIRST_COOL
from agentdeck.limits.provider_health import SPREAD, ProviderHealth

THROTTLED = Fault("rate_limit", "429")


def health() -> ProviderHealth:
    return ProviderHealth(lambda at, text: None, lambda provider, kind: "mend it")


def shut(one: ProviderHealth, at: float) -> bool:
    return one.choose([("m", "p")], at) == ""


def test_the_bursts_of_many_processes_are_one_wait() -> None:
    """Each has eight calls under way, and all are throttled at once: the store hears of one short wait."""
    processes = [health() for _ in range(6)]
    began = [[one.began("p") for _ in range(8)] for one in processes]
    told = [
        until
        for one, epochs in zip(processes, began, strict=True)
        for epoch in epochs
        if (until := one.ended("p", epoch, 10.0, THROTTLED)) is not None
    ]
    assert max(told) == 10.0 + FIRST_COOL
    assert len(told) == len(processes), "one decision each"
    for one in processes:
        one.cool_down("p", max(told), "another process was throttled", 10.1)
        assert shut(one, 10.1)
        assert not shut(one, 10.0 + FIRST_COOL * (1 + SPREAD) + 0.01)


def test_what_another_process_was_told_comes_before_the_own_burst() -> None:
    one = health()
    epochs = [one.began("p") for _ in range(8)]
    one.cool_down("p", 12.0, "another process was asked to wait", 10.0)
    assert all(one.ended("p", epoch, 10.5, THROTTLED) is None for epoch in epochs), "they were sent before"
    assert shut(one, 11.9)
    assert not shut(one, 12.3)


def test_a_longer_retry_after_of_the_same_burst_is_passed_on() -> None:
    one = health()
    first, second = one.began("p"), one.began("p")
    assert one.ended("p", first, 10.0, THROTTLED._replace(retry_after=2.0)) == 12.0
    assert one.ended("p", second, 10.0, THROTTLED._replace(retry_after=30.0)) == 40.0
    assert shut(one, 39.9)
