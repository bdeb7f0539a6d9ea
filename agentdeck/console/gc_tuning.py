"""Shorter pauses of the interpreter.

Of the objects of a console most stay for as long as it is open: modules, classes, styles, widgets. Walking over
them all in search of garbage takes 60 ms and more, every second while events pour in; so what stays is set
aside. A thread that reads events holds the interpreter for as long as it may before the loop gets a turn, and a
key needs several turns.
"""

from __future__ import annotations

import gc
import sys

SWITCH = 0.0005  # seconds that a thread may hold the interpreter while another wants it
SETTLED = 1.0  # seconds after which a screen that was opened has all its parts, one that was closed has none
YOUNG = 3_000  # objects between two looks for garbage among the newest: about a page of events


def shorten() -> None:
    """Set the intervals. Call it when the console starts."""
    sys.setswitchinterval(SWITCH)
    gc.set_threshold(YOUNG, 8, 20)


def set_aside() -> None:
    """Exclude all present objects from garbage collection: they will stay. Takes no time."""
    gc.freeze()


def look_again() -> None:
    """Collect garbage among the excluded objects, after a screen was closed. Takes as long as a full one."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
