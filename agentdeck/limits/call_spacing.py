"""Room in the burst of a rate: a token bucket over the times at which requests were sent.

A provider that enforces `60/min` per second refuses the second request of one second. With a burst, at most
that much is sent at once, and then one request in every interval. The level of the bucket rises with each request
when it is sent, and falls at the rate; a call goes where it still fits. Requests that are reserved and not sent
count as now: two calls that were reserved one interval apart could be sent together otherwise.

The bucket forgets what is older than the rate's window, so it may seem emptier than it is. That never admits a
call too many: the window itself, which always applies too, has then no room for more than the bucket really has.
"""

from __future__ import annotations

from bisect import bisect_right

NEVER = float("inf")
#: Amounts below this are rounding.
ROUNDING = 1e-9


class CallSpacing:
    """The calls of one rate, of `count` in `seconds`. The level after each call is computed once, from its
    predecessor: calls are usually sent in the order in which they are added."""

    __slots__ = ("_amounts", "_forgotten", "_levels", "_open", "_order", "_sent", "drain", "seconds")

    def __init__(self, count: float, seconds: float) -> None:
        self.drain = count / seconds
        self.seconds = seconds
        self._amounts: dict[int, float] = {}
        self._sent: dict[int, float | None] = {}
        self._order: list[tuple[float, int]] = []
        self._levels: list[float] = []  # the level right after each call of the order, as far as it is known
        self._open = 0.0
        self._forgotten = -NEVER

    def put(self, number: int, sent: float | None, amount: float) -> None:
        """Add a call, or replace the one with this number. `sent` None: it is reserved, and not sent yet."""
        if number in self._sent:
            before = self._sent.pop(number)
            if before is None:
                self._open -= self._amounts[number]
            else:
                at = bisect_right(self._order, (before, number)) - 1
                del self._order[at]
                del self._levels[at:]
        self._amounts.pop(number, None)
        if sent is not None and sent <= self._forgotten:
            return
        self._sent[number], self._amounts[number] = sent, amount
        if sent is None:
            self._open += amount
        else:
            at = bisect_right(self._order, (sent, number))
            self._order.insert(at, (sent, number))
            del self._levels[at:]

    def free_at(self, amount: float, burst: float, now: float) -> float:
        """When a call of this amount may be sent: a past time where it may now. One larger than the burst counts
        as the whole burst, or it would never go."""
        self._forget(now - self.seconds)
        over = self._level(now) + self._open + min(amount, burst) - burst
        if over <= ROUNDING:
            return -NEVER
        return now + over / self.drain if self.drain > 0 else NEVER

    def _level(self, now: float) -> float:
        """What the bucket holds now of requests that were sent."""
        levels, order = self._levels, self._order
        while len(levels) < len(order):
            at = len(levels)
            sent, number = order[at]
            before = max(0.0, levels[-1] - self.drain * (sent - order[at - 1][0])) if at else 0.0
            levels.append(before + self._amounts[number])
        return max(0.0, levels[-1] - self.drain * max(0.0, now - order[-1][0])) if levels else 0.0

    def _forget(self, before: float) -> None:
        old = bisect_right(self._order, (before, 0))
        if old:
            self._level(before)  # those that stay keep their level
            for _, number in self._order[:old]:
                del self._sent[number], self._amounts[number]
            self._forgotten = self._order[old - 1][0]
            del self._order[:old], self._levels[:old]
