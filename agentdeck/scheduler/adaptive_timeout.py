"""A timeout that follows what was seen."""

from __future__ import annotations

import math
from collections.abc import Collection

#: So many attempts must have been seen; the slowest of all but one in twenty, and half as much again.
LEAST, SHARE, SLACK = 20, 0.95, 1.5


def auto_timeout(seconds: Collection[float]) -> float | None:
    """p95 × 1.5 of the attempts that ended well. None while there are too few."""
    if len(seconds) < LEAST:
        return None
    return max(0.001, quantile(seconds, SHARE) * SLACK)


def quantile(seconds: Collection[float], share: float) -> float:
    """What that share of them does not exceed (nearest rank)."""
    return sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)]
