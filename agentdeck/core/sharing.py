"""Who has the next place at a provider, of several processes that want one.

Whoever has places asks again the moment that a call of its own has ended, and would have that place again, for
ever. So whoever waits says so, and those that have more leave it the next place, until all have the same number.
Where there are fewer places than that, they have them in turns of SLICE seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

#: Whoever waits asks again within this many seconds, else it waits no more.
AGAIN = 0.5
#: Handing a place over takes a while: who has it keeps it so long.
SLICE = 1.0


class Waiting(NamedTuple):
    """Since when it waits, which is how far in front it stands; until when that holds; with how many calls at
    once, of all, it would make one more; since when it has been getting places, though fewer than it wants."""

    since: float
    until: float
    most: int
    served: float | None = None


def waits(before: Waiting | None, most: int, got: bool, now: float) -> Waiting:
    """Its word after one more try, in which it `got` a place or not, and was refused another."""
    since, served = now, None
    if before is not None and now < before.until:
        since, served = before.since, before.served
    if got and served is None:
        served = now
    elif got and served is not None and now - served > SLICE:
        since, served = now, None
    return Waiting(since, now + AGAIN, most, served)


def owed(waiting: Mapping[str, Waiting], live: Mapping[str, int], me: str, now: float) -> bool:
    """Whether the next free place is to be left to another. `live` says how many each has."""
    total, mine = sum(live.values()), live.get(me, 0)
    since = waiting[me].since if me in waiting else now
    return any(
        (live.get(who, 0), one.since) < (mine, since)
        for who, one in waiting.items()
        if who != me and now < one.until and total < one.most
    )
