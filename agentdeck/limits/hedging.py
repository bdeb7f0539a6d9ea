"""When a call is late, and how many second calls there may be.

After Dean and Barroso, “The Tail at Scale”: a second call where the first is later than nearly all others. A call
is late where its answer has not begun after nearly all others had, or comes more slowly, by its tokens. A long
answer is not late."""

from __future__ import annotations

import math
from collections import deque

from agentdeck.limits.answer_speed import LONG, AnswerSpeed
from agentdeck.limits.reservations import RequestProgress

#: Answers whose times are remembered; fewer than LEAST say nothing.
SEEN, LEAST = 200, 20
#: Each call allows this share of a second call. At most SAVED are saved up: when all calls of a provider are
#: late, a second one of each would make it worse.
SHARE, SAVED = 0.05, 5.0


class HedgeAllowance:
    """The second calls that a run may make: a token bucket, empty in the beginning."""

    __slots__ = ("_there",)

    def __init__(self) -> None:
        self._there = 0.0

    def add_call(self) -> None:
        """A first call was made."""
        self._there = min(SAVED, self._there + SHARE)

    @property
    def left(self) -> bool:
        # twenty additions of 0.05 are a little less than one
        return self._there >= 1.0 - 1e-9

    def take(self) -> None:
        """A second call was made."""
        self._there -= 1.0


class AnswerTimes:
    """How long the answers of one agent and model took until the first text (in all, for those that came as a
    whole), and per token."""

    __slots__ = ("_each", "_first")

    def __init__(self) -> None:
        self._first: deque[float] = deque(maxlen=SEEN)
        self._each: deque[float] = deque(maxlen=SEEN)

    def add(self, speed: AnswerSpeed) -> None:
        self._first.append(speed.seconds if speed.first is None else speed.first)
        if speed.first is not None and speed.each is not None:
            self._each.append(speed.each)

    def late_at(self, request: RequestProgress, began: float, per_token: float, share: float) -> float | None:
        """When a request is late, if nothing more of its answer comes until then: later than this share of the
        others. `per_token` is the characters of a token. None: it is not known when."""
        if request.first_text_at is None:
            since = began if request.sent_at is None else request.sent_at
            first = _quantile(self._first, share)
            return None if first is None else since + first
        each = _quantile(self._each, share)
        if each is None:
            return None
        return request.first_text_at + each * max(float(LONG), request.characters / per_token)


def _quantile(values: deque[float], share: float) -> float | None:
    """By nearest rank: this share of the values does not exceed it."""
    if len(values) < LEAST:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
