"""Between which values a limit may be set, whoever sets it."""

from __future__ import annotations

import math

#: The least and the most, by the last part of a limit's dotted name.
RANGES: dict[str, tuple[float, float]] = {
    "workers": (0, 10_000),
    "timeout": (0.001, 30 * 86_400),
    "attempts": (1, 1_000),
    "max_parallel": (0, 10_000),
}


def range_of(name: str) -> tuple[float, float]:
    """The least and the most that the limit may be set to; none is below nothing."""
    return RANGES.get(name.rsplit(".", 1)[-1], (0, math.inf))
