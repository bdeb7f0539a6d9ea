"""Which of several processes gets the next place at a provider.

A process that has places asks again as soon as one of its calls has ended, and would get that place again for
ever. So a process without room announces that it waits. Once it has got no place for SLICE seconds, processes
that have their share or more leave it the next places, until it has its share too. With fewer places than
processes, they take turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

#: Seconds within which a waiting process asks again; after that it no longer counts as waiting.
AGAIN = 0.5
#: Seconds. Handing a place over takes a while in which it is unused, so it is not done more often than this.
SLICE = 1.0


class WaitingProcess(NamedTuple):
    """Since when a process has got no place, until when that is valid, and its limit of concurrent calls in
    all."""

    since: float
    until: float
    most: int


def waiting_since(before: WaitingProcess | None, most: int, got: bool, now: float) -> WaitingProcess:
    """The announcement after one more try that was refused; `got`: the same try got other places."""
    since = now if before is None or got or now >= before.until else before.since
    return WaitingProcess(since, now + AGAIN, most)


def must_yield(waiting: Mapping[str, WaitingProcess], live: Mapping[str, int], me: str, now: float) -> bool:
    """Whether process `me` has to leave the next free place to another. `live` is the number of calls of each."""
    total, mine = sum(live.values()), live.get(me, 0)
    since = waiting[me].since if me in waiting else now
    wants = {name: one for name, one in waiting.items() if name != me and now < one.until and total < one.most}
    count = len({me, *wants, *(name for name, places in live.items() if places > 0)})
    for name, one in wants.items():
        theirs, share = live.get(name, 0), one.most // count
        behind = theirs < share <= mine if share else (theirs, one.since) < (mine, since)
        if behind and now - one.since > SLICE:
            return True
    return False
