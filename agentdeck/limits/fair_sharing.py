"""Who has the next place at a provider, of several processes that want one.

Whoever has places asks again the moment that a call of its own has ended, and would have that place again, for
ever. So whoever waits says so, and where it has got none for SLICE seconds, those that have their share or more
leave it the next ones, until it has its share too. Where there are fewer places than processes, they go round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

#: Whoever waits asks again within this many seconds, else it waits no more.
AGAIN = 0.5
#: Handing a place over takes a while in which nobody has it, so it is not done more often than this.
SLICE = 1.0


class WaitingProcess(NamedTuple):
    """Since when it has got no place; until when that holds; with how many calls at once, of all, it would make
    one more."""

    since: float
    until: float
    most: int


def waits(before: WaitingProcess | None, most: int, got: bool, now: float) -> WaitingProcess:
    """Its word after one more try, in which it `got` some places or none, and was refused another."""
    since = now if before is None or got or now >= before.until else before.since
    return WaitingProcess(since, now + AGAIN, most)


def owed(waiting: Mapping[str, WaitingProcess], live: Mapping[str, int], me: str, now: float) -> bool:
    """Whether the next free place is to be left to another. `live` says how many each has."""
    total, mine = sum(live.values()), live.get(me, 0)
    since = waiting[me].since if me in waiting else now
    wants = {who: one for who, one in waiting.items() if who != me and now < one.until and total < one.most}
    count = len({me, *wants, *(who for who, places in live.items() if places > 0)})
    for who, one in wants.items():
        theirs, share = live.get(who, 0), one.most // count
        behind = theirs < share <= mine if share else (theirs, one.since) < (mine, since)
        if behind and now - one.since > SLICE:
            return True
    return False
