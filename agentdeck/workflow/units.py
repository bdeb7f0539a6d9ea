"""Reads and writes values with a unit: durations, rates, sizes, shares."""

from __future__ import annotations

import re

from agentdeck.workflow.model import Rate

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
SIZES = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_RATE = re.compile(r"(\d+(?:\.\d+)?)([kM]?)/(\d+(?:\.\d+)?)?(ms|s|min|m|h|d)")
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
    """A count per time. Raises ValueError as `duration` does."""
    found = _match(_RATE, value, "a rate; write it like 5/s, 50/min, 30/10s or 1000/h")
    seconds = float(found[3] or 1) * SECONDS[found[4]]
    if seconds <= 0:
        raise ValueError(f"{value!r} is not a rate; its time must be longer than 0")
    return Rate(float(found[1]) * SIZES[found[2]], seconds)


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
    return f"{show_size(value.count)}/{names.get(value.seconds) or show_duration(value.seconds)}"


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
