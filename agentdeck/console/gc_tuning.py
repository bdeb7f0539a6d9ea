"""Shorter pauses of the interpreter.

Of the objects of a console most stay for as long as it is open: modules, classes, styles, widgets. Walking over
them all in search of garbage takes 60 ms and more, every second while events pour in; so what stays is set
aside. Garbage among the rest is collected once a second, when no key waits, and never by the thread that reads
events: it would hold the interpreter meanwhile. A thread that reads events holds the interpreter for as long as
it may before the loop gets a turn, and a key needs several turns.
"""

from __future__ import annotations

import gc
import sys

SWITCH = 0.0005  # seconds that a thread may hold the interpreter while another wants it
SETTLED = 1.0  # seconds after which a screen that was opened has all its parts, one that was closed has none
YOUNG = 3_000  # new objects below which looking for garbage is not worth while
WHOLE = 60  # every so many times, all objects that are not set aside are examined, and not only the newer ones

_collected = 0


def shorten() -> None:
    """Set the intervals, and leave collecting garbage to `collect`. Call it when the console starts."""
    sys.setswitchinterval(SWITCH)
    gc.disable()


def restore() -> None:
    """Let the interpreter collect garbage again, when the console has ended."""
    gc.enable()


def collect() -> None:
    """Collect garbage now. Call it once a second."""
    global _collected
    if gc.get_count()[0] < YOUNG:
        return
    _collected += 1
    gc.collect(1 if _collected % WHOLE else 2)


def set_aside() -> None:
    """Exclude all present objects from garbage collection: they will stay. Takes no time."""
    gc.freeze()


def look_again() -> None:
    """Collect garbage among the excluded objects, after a screen was closed. Takes as long as a full one."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
