"""Timeouts that follow the durations of earlier attempts (`timeout: auto`)."""

from __future__ import annotations

import math
from collections.abc import Collection

#: The fewest attempts, the quantile of their durations, and the factor on it. Untuned: p95 leaves out single
#: outliers, and half as much again leaves room for slow answers that are no fault.
LEAST, SHARE, SLACK = 20, 0.95, 1.5


def auto_timeout(seconds: Collection[float]) -> float | None:
    """The p95 × 1.5 of the durations of attempts that ended well. None while there are fewer than LEAST."""
    if len(seconds) < LEAST:
        return None
    return max(0.001, quantile(seconds, SHARE) * SLACK)


def quantile(seconds: Collection[float], share: float) -> float:
    """The quantile by nearest rank: this share of the values does not exceed it."""
    return sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)]
