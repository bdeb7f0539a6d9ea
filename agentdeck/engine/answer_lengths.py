"""How long the answers of an agent become, and how fast: what is expected of one that is under way."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from math import inf, sqrt

#: So many of the last answers are looked at; fewer than TRUSTED say nothing, and an answer may become as long as
#: it is allowed to.
MEMORY, TRUSTED = 1000, 50
#: An answer of fewer tokens says little about how fast they come; so many others tell, and it may be faster by
#: this.
LONG, PACES, FASTER = 20, 5, 1.1
#: Where more than this share of an answer came in its first piece, it was not streamed from its beginning.
STREAMED = 0.2
CHARACTERS_PER_TOKEN = 4.0


class AnswerLengths:
    """The answers of one agent, in tokens.

    Expected is the mean of the answers that became longer than the one under way is. One more is always counted,
    as long as may be: what was never seen in so many answers still comes once in as many.
    """

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._sorted: list[int] = []
        self._sums: list[tuple[float, float]] | None = None
        self._tokens = self._characters = 0.0

    @property
    def longest(self) -> int:
        return self._sorted[-1] if self._sorted else 0

    def add(self, tokens: int) -> None:
        if len(self._order) == MEMORY:
            del self._sorted[bisect_right(self._sorted, self._order.popleft()) - 1]
        self._order.append(tokens)
        insort(self._sorted, tokens)
        self._sums = None

    def measure(self, tokens: int, characters: int) -> None:
        """An answer of so many characters had so many tokens. Older ones count less and less."""
        if characters and tokens:
            self._tokens = self._tokens * 0.98 + tokens
            self._characters = self._characters * 0.98 + characters

    @property
    def per_token(self) -> float:
        """How many characters a token has."""
        return self._characters / self._tokens if self._tokens else CHARACTERS_PER_TOKEN

    def expect(self, said: int, most: int) -> tuple[float, float]:
        """Mean and standard deviation of an answer that has said so much and is at most so long."""
        if len(self._sorted) < TRUSTED or said >= most:
            return float(most), 0.0
        sums = self._sums or self._sum()
        first, last = bisect_right(self._sorted, said), bisect_right(self._sorted, most)
        last = max(first, last)
        cut = len(self._sorted) - last + 1  # longer than is allowed now, and the one that was never seen
        count = last - first + cut
        mean = (sums[last][0] - sums[first][0] + cut * most) / count
        square = (sums[last][1] - sums[first][1] + cut * float(most) ** 2) / count
        return mean, sqrt(max(0.0, square - mean * mean))

    def _sum(self) -> list[tuple[float, float]]:
        """Running sums of lengths and their squares."""
        total = square = 0.0
        self._sums = [(0.0, 0.0)]
        for length in self._sorted:
            total += length
            square += length * length
            self._sums.append((total, square))
        return self._sums


class OutputRates:
    """How many tokens a second a model says at most, by its last answers."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=50)

    def add(self, tokens: int, seconds: float) -> None:
        if tokens >= LONG and seconds > 0:
            self._last.append(tokens / seconds)

    @property
    def most(self) -> float:
        """Unlimited until enough was seen."""
        return FASTER * max(self._last) if len(self._last) >= PACES else inf
