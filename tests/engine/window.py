"""What a provider saw, by windows."""

from __future__ import annotations

from bisect import bisect_right


def worst(seen: list[tuple[float, int]], seconds: float, *, tokens: bool = False) -> int:
    """The most in any window of this length."""
    times = [at for at, _ in seen]
    sums = [0]
    for _, each in seen:
        sums.append(sums[-1] + (each if tokens else 1))
    return max(sums[i + 1] - sums[bisect_right(times, at - seconds)] for i, at in enumerate(times))
