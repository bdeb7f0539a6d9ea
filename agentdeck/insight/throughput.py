"""The rate of a growing count."""

from __future__ import annotations

from collections import deque


class Pace:
    """The rate of a growing count over the last `window` seconds. Memory is bounded: samples closer together
    than a hundredth of the window are one. Going back, in time or in count, begins anew."""

    def __init__(self, window: float) -> None:
        self.window = window
        self._samples: deque[tuple[float, float]] = deque()

    def note(self, at: float, count: float) -> None:
        samples = self._samples
        if samples and (at < samples[-1][0] or count < samples[-1][1]):
            samples.clear()
        if len(samples) > 1 and at - samples[-2][0] < self.window / 100:
            samples.pop()
        samples.append((at, count))
        while len(samples) > 2 and samples[1][0] <= at - self.window:
            samples.popleft()

    def per_second(self) -> float | None:
        """None until two moments are known that lie apart."""
        if len(self._samples) < 2:
            return None
        (since, before), (at, count) = self._samples[0], self._samples[-1]
        return (count - before) / (at - since) if at > since else None
