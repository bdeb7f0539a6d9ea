"""Who has the next place at a provider, of several processes that want one.

Whoever has places asks again the moment that a call of its own has ended, and would have that place again, for
ever. So whoever waits says so, and those that have more leave it the next place, until all have the same number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

#: Whoever waits asks again within this many seconds, else it waits no more.
AGAIN = 0.5


class Waiting(NamedTuple):
    """Since when it waits; until when that holds; with how many calls at once, of all, it would make one more."""

    since: float
    until: float
    most: int


def owed(waiting: Mapping[str, Waiting], live: Mapping[str, int], me: str, now: float) -> bool:
    """Whether the next free place is to be left to another. `live` says how many each has."""
    total, mine = sum(live.values()), live.get(me, 0)
    since = waiting[me].since if me in waiting else now
    return any(
        (live.get(who, 0), one.since) < (mine, since)
        for who, one in waiting.items()
        if who != me and now < one.until and total < one.most
    )
