"""Objects that can only do one call at a time, because they hold the state of it: further calls wait."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

WAITS = "waits until another call of this object has ended; name a function that makes one for each call\n"

_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakKeyDictionary[Any, asyncio.Lock]] = WeakKeyDictionary()


def turn_of(found: Any) -> asyncio.Lock:
    """What a call of this object holds."""
    locks = _locks.setdefault(asyncio.get_running_loop(), WeakKeyDictionary())
    return locks.setdefault(found, asyncio.Lock())
