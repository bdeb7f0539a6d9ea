"""Estimates of tokens from earlier calls: how many a prompt and its answer use, and how fast an answer grows."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from agentdeck.limits.answer_speed import LONG
from agentdeck.limits.reservations import Amounts

#: The answers that are remembered. Fewer than TRUSTED predict nothing: an answer may become as long as it is
#: allowed.
MEMORY, TRUSTED = 1000, 50
#: From RATES answers of LONG tokens on, the fastest counts, plus a tenth.
RATES, FASTER = 5, 1.1
CHARACTERS_PER_TOKEN = 4
BYTES_PER_TOKEN = 4
#: The length of an answer where neither the agent nor earlier answers tell.
OUTPUT = 1024
#: From LEAST answers on, the SHARE quantile of the last SEEN answers is reserved. Where they differ much, MANY
#: are needed: the first answers may be unlike the rest.
LEAST, MANY, SHARE, SEEN = 10, 100, 0.9, 200
#: Answers differ much where the longest is this many times as long as the median.
UNLIKE = 1.5


class PromptEstimate(NamedTuple):
    """What to reserve for a prompt (`want`), and how much `more` it may use. `length` is the prompt's length in
    tokens, as far as its text tells."""

    want: Amounts
    more: Amounts
    length: int


class PromptHistory:
    """What the attempts of one agent used, in the order in which they began: of many attempts under way the
    short ones end first, and these alone would make all look short. `_ended` holds attempts that wait for an
    earlier one; None is one whose usage is not known."""

    def __init__(self) -> None:
        self.lengths = AnswerLengths()
        self._ratios: deque[float] = deque(maxlen=SEEN)  # tokens of the prompt per estimated token
        self._answers: deque[int] = deque(maxlen=SEEN)
        self._sorted: tuple[list[float], list[int]] | None = None  # both, until one more is recorded
        self._ended: dict[int, tuple[float, int] | None] = {}
        self._began = self._next = 0

    def estimate(self, length: int, most: int | None) -> PromptEstimate:
        """For a prompt of this length. `most` is the longest allowed answer; None where nothing limits it."""
        ratios, answers = self._samples()
        if not _is_enough(answers):
            answer = OUTPUT if most is None else most
            return PromptEstimate(Amounts(1, length, answer), Amounts(0, length // 2, 0), length)
        at = math.ceil(SHARE * len(answers)) - 1
        usual, middle, longest = answers[at], answers[len(answers) // 2], answers[-1]
        if most is not None:
            usual, middle, longest = min(most, usual), min(most, middle), min(most, longest)
        want = Amounts(1, math.ceil(length * ratios[at]), usual)
        far = 2 * longest - middle  # 0 beyond the longest where all have one length
        longest = far if most is None else min(most, far)
        more = Amounts(0, math.ceil(length * ratios[-1]) - want.tokens_in, longest - want.tokens_out)
        return PromptEstimate(want, more, length)

    def begin(self) -> int:
        """The number of an attempt that begins now."""
        self._began += 1
        return self._began - 1

    def end(self, number: int, length: int, tokens: tuple[int, int] | None) -> None:
        """Record what an attempt used, whose prompt was estimated at `length`; None where that is not known."""
        if number < self._next:  # the later ones no longer wait for it
            return
        self._ended[number] = None if tokens is None else (tokens[0] / length, tokens[1])
        if len(self._ended) > SEEN:  # an earlier attempt does not end
            self._next = min(self._ended)
        while self._next in self._ended:
            found = self._ended.pop(self._next)
            self._next += 1
            if found is not None:
                self._ratios.append(found[0])
                self._answers.append(found[1])
                self._sorted = None
                self.lengths.add(found[1])

    def _samples(self) -> tuple[list[float], list[int]]:
        """Ratios and answers, sorted. Prompts that wait for room are estimated again each time that they ask."""
        if self._sorted is None:
            self._sorted = sorted(self._ratios), sorted(self._answers)
        return self._sorted


def _is_enough(answers: Sequence[int]) -> bool:
    """Whether these answers, sorted, tell what the next one will be."""
    many = len(answers)
    return many >= MANY or (many >= LEAST and answers[-1] <= UNLIKE * answers[many // 2])


class AnswerLengths:
    """The lengths of an agent's answers, in tokens.

    The expected length is the mean of the answers that became longer than the one under way is. One answer of the
    maximum length is always added: an event not seen in n answers still occurs about once in n.
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
        """Record the size of one answer in both units. Older answers lose weight."""
        if characters and tokens:
            self._tokens = self._tokens * 0.98 + tokens
            self._characters = self._characters * 0.98 + characters

    @property
    def per_token(self) -> float:
        """Characters per token."""
        return self._characters / self._tokens if self._tokens else float(CHARACTERS_PER_TOKEN)

    def expect(self, generated: int, most: int) -> tuple[float, float]:
        """Mean and standard deviation of the final length of an answer that has `generated` tokens and may have
        `most`."""
        if len(self._sorted) < TRUSTED or generated >= most:
            return float(most), 0.0
        sums = self._sums or self._sum()
        first, last = bisect_right(self._sorted, generated), bisect_right(self._sorted, most)
        last = max(first, last)
        cut = len(self._sorted) - last + 1  # answers longer than allowed now, and the one that is added
        count = last - first + cut
        mean = (sums[last][0] - sums[first][0] + cut * most) / count
        square = (sums[last][1] - sums[first][1] + cut * float(most) ** 2) / count
        return mean, math.sqrt(max(0.0, square - mean * mean))

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
    """The highest rate at which a model generates, in tokens per second, from its last answers."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=50)

    def add(self, tokens: int, seconds: float) -> None:
        if tokens >= LONG and seconds > 0:
            self._last.append(tokens / seconds)

    @property
    def most(self) -> float:
        """Infinite until enough answers were measured."""
        return FASTER * max(self._last) if len(self._last) >= RATES else math.inf
