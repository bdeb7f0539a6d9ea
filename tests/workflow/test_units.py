"""Units: what can be written, what it means, and that it can be written back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdeck.workflow.model import Rate
from agentdeck.workflow.units import (
    duration,
    rate,
    rate_without_burst,
    share,
    show_duration,
    show_rate,
    show_size,
    size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("2m", 120), ("4h", 14_400), ("1d", 86_400), ("1.5h", 5400), (0, 0), ("0s", 0)],
)
def test_durations(text: object, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "told"),
    [("5/s", Rate(5, 1)), ("50/min", Rate(50, 60)), ("30/10s", Rate(30, 10)), ("1000/h", Rate(1000, 3600)),
     ("30k/min", Rate(30_000, 60)), ("50/min burst 5", Rate(50, 60, 5)),
     ("30k/min  burst 2k", Rate(30_000, 60, 2000)),
     ("0.5/s burst 1", Rate(0.5, 1, 1))],
)  # fmt: skip
def test_rates(text: str, told: Rate) -> None:
    assert rate(text) == told


def test_sizes_and_shares() -> None:
    assert [size(text) for text in ("400k", "2M", "17", 5, 5.0)] == [400_000, 2_000_000, 17, 5, 5]
    assert [share(text) for text in ("90%", "0%", "100%", "12.5%")] == [0.9, 0, 1, 0.125]


@pytest.mark.parametrize(
    ("parse", "value", "message"),
    [
        (duration, 30, "30 is not a duration; write 30s"),
        (duration, "soon", "'soon' is not a duration; write it like 500ms, 30s, 2m, 4h or 1d"),
        (duration, True, "True is not a duration; write it like"),
        (duration, False, "False is not a duration"),
        (duration, "-5s", "'-5s' is not a duration"),
        (duration, None, "None is not a duration"),
        (rate, 5, "5 is not a rate; write it like 5/s"),
        (rate, "5/0s", "'5/0s' is not a rate; its time must be longer than 0"),
        (rate, "5/week", "'5/week' is not a rate"),
        (rate, "5/s burst", "'5/s burst' is not a rate"),
        (rate, "5/s burst 0", "a burst of 0 does not fit 5/s; write 1 to 5"),
        (rate, "50/min burst 60", "a burst of 60 does not fit 50/min; write 1 to 50"),
        (rate_without_burst, "30k/min burst 1k", "a burst is possible for requests and input_tokens only"),
        (size, -1, "-1 is not a size; write it like 4000, 400k or 2M"),
        (size, 2.5, "2.5 is not a size"),
        (size, "4kk", "'4kk' is not a size"),
        (share, 90, "90 is not a share; write it like 90%"),
        (share, "101%", "'101%' is more than 100%"),
    ],
)
def test_what_is_none_says_how_to_write_it(parse: object, value: object, message: str) -> None:
    assert callable(parse)
    with pytest.raises(ValueError, match=r".") as caught:
        parse(value)
    assert str(caught.value).startswith(message)


@given(st.integers(1, 999).map(lambda n: n / 1000) | st.integers(0, 10_000_000))
def test_durations_are_written_back(seconds: float) -> None:
    assert duration(show_duration(seconds)) == pytest.approx(seconds, rel=1e-12)


@given(st.integers(0, 10**12), st.sampled_from([1.0, 60.0, 3600.0, 10.0, 90.0]), st.integers(0, 100))
def test_the_others_are_written_back(count: int, seconds: float, part: int) -> None:
    assert size(show_size(count)) == count
    assert rate(show_rate(Rate(count, seconds))) == Rate(count, seconds)
    assert share(f"{part}%") == pytest.approx(part / 100)


def test_they_are_written_as_a_person_would() -> None:
    assert [show_duration(s) for s in (0, 0.5, 30, 90, 120, 14_400, 86_400, 1_234_567)] == [
        "0s", "500ms", "30s", "90s", "2m", "4h", "1d", "1234567s",
    ]  # fmt: skip
    assert [show_rate(rate(r)) for r in ("5/s", "50/min", "30/10s", "200k/min", "50/min burst 5")] == [
        "5/s", "50/min", "30/10s", "200k/min", "50/min burst 5",
    ]  # fmt: skip
    assert [show_size(n) for n in (4000, 400_000, 2_000_000, 20_000_000)] == ["4000", "400k", "2000k", "20M"]
