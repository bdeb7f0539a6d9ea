"""Reads and writes values with a unit: durations, rates, sizes, shares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from agentdeck.workflow.model import Rate

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
SIZES = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
#: The largest amount of a shared resource.
MOST = 1_000_000_000
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_RATE = re.compile(r"(\d+(?:\.\d+)?)([kM]?)/(\d+(?:\.\d+)?)?(ms|s|min|m|h|d)(?:\s+burst\s+(\d+)([kM]?))?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kMG]?)")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)%")


def _match(pattern: re.Pattern[str], value: object, needed: str) -> re.Match[str]:
    found = pattern.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is not {needed}")
    return found


def duration(value: object) -> float:
    """The seconds of a duration. Raises ValueError with a message for the author of the file."""
    if value == 0 and not isinstance(value, bool):
        return 0.0
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    hint = f"write {value}s" if is_number else "write it like 500ms, 30s, 2m, 4h or 1d"
    found = _match(_DURATION, value, f"a duration; {hint}")
    return float(found[1]) * SECONDS[found[2]]


def rate(value: object) -> Rate:
    """A count per time, with or without a burst (`50/min burst 5`). Raises ValueError as `duration` does."""
    found = _match(_RATE, value, "a rate; write it like 5/s, 50/min, 30/10s or 1000/h")
    seconds = float(found[3] or 1) * SECONDS[found[4]]
    if seconds <= 0:
        raise ValueError(f"{value!r} is not a rate; its time must be longer than 0")
    plain = Rate(float(found[1]) * SIZES[found[2]], seconds)
    return plain if found[5] is None else with_burst(plain, int(found[5]) * SIZES[found[6]])


def with_burst(of: Rate, burst: int) -> Rate:
    """The rate with this burst. Raises ValueError as `duration` does."""
    if not 1 <= burst <= max(1.0, of.count):
        raise ValueError(f"a burst of {burst} does not fit {show_rate(of)}; write 1 to {show_size(of.count)}")
    return replace(of, burst=burst)


def rate_without_burst(value: object) -> Rate:
    """A count per time of what cannot be spaced out. Raises ValueError as `duration` does."""
    if isinstance(value, Mapping) or (isinstance(value, str) and "burst" in value):
        raise ValueError(
            "a burst is possible for requests and input_tokens only, as the length of an answer is not known when"
            " its request is sent; write a rate like 30k/min"
        )
    return rate(value)


def size(value: object) -> int:
    """A whole number, with k, M or G. Raises ValueError as `duration` does."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value == value // 1:
        return int(value)
    found = _match(_SIZE, value, "a size; write it like 4000, 400k or 2M")
    return round(float(found[1]) * SIZES[found[2]])


def share(value: object) -> float:
    """A percentage as a fraction of one. Raises ValueError as `duration` does."""
    found = _match(_SHARE, value, "a share; write it like 90%")
    part = float(found[1]) / 100
    if part > 1:
        raise ValueError(f"{value!r} is more than 100%")
    return part


def thousandths(amount: float) -> int:
    """An amount of a shared resource as a whole number, so that sums are exact: 0.1 ten times is 1. Raises
    ValueError, as `duration` does, for what is no number, is negative or too large, or has more decimals."""
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        raise ValueError(f"{amount!r} is not an amount; write a number like 1 or 0.5")
    if not 0 <= amount <= MOST:
        raise ValueError(f"{amount:g} is out of range: 0 to {MOST:,}")
    if round(amount, 3) != amount:
        raise ValueError(f"{amount} has more than three decimals")
    return round(amount * 1000)


def whole_where_exact(number: float) -> float:
    """The number as a whole one, where it is."""
    return int(number) if number == int(number) else number


def show_amount(count: int) -> str:
    """The text of so many thousandths, such as `4` or `0.5`."""
    return _plain(count / 1000)


def show_duration(seconds: float) -> str:
    """The shortest text of a duration: `duration(show_duration(x)) == x` for usual values."""
    if seconds and seconds < 1:
        return f"{_plain(seconds * 1000)}ms"
    for unit in ("d", "h", "m"):
        if seconds >= SECONDS[unit] and seconds % SECONDS[unit] == 0:
            return f"{_plain(seconds / SECONDS[unit])}{unit}"
    return f"{_plain(seconds)}s"


def show_rate(value: Rate) -> str:
    names = {1.0: "s", 60.0: "min", 3600.0: "h"}
    plain = f"{show_size(value.count)}/{names.get(value.seconds) or show_duration(value.seconds)}"
    return plain if value.burst is None else f"{plain} burst {show_size(value.burst)}"


def show_size(value: float) -> str:
    """The text of a size, with a unit where that is exact: `size(show_size(x)) == x`."""
    for unit in ("M", "k"):
        if value >= 10 * SIZES[unit] and value % SIZES[unit] == 0:
            return f"{_plain(value / SIZES[unit])}{unit}"
    return _plain(value)


def _plain(value: float) -> str:
    """A number without an exponent, rounded to 9 decimals: binary fractions add digits beyond that."""
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return text or "0"
