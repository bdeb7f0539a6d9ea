"""Interrupts agents' code that blocks the event loop: an async function that computes or blocks without awaiting.

A signal handler runs in the main thread between two instructions, also while the loop is blocked, and an
exception that it raises ends a blocking call too. So it works only where the loop runs in the main thread."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

HERE = str(Path(__file__).resolve().parents[1])
#: A signal that nothing else uses, and that is ignored where it has no handler.
SIGNAL = getattr(signal, "SIGURG", None)
_ready = False
#: What calls code that is not agentdeck's.
_CALLS: set[CodeType] = set()
Call = TypeVar("Call", bound=Any)


class LoopBlocked(BaseException):
    """Raised inside an agent that blocks the loop: `except Exception` does not catch it."""


def interrupt() -> bool:
    """From any thread: interrupt the agent that blocks the main thread's loop. False where that is not
    possible."""
    if not _ready or SIGNAL is None:
        return False
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, SIGNAL)
    return True


def break_into(frame: FrameType | None) -> None:
    """Raise LoopBlocked if the frame in which a signal arrived is an agent's own code; never in agentdeck's."""
    if frame is not None and not frame.f_code.co_filename.startswith(HERE) and _called_by_agentdeck(frame):
        raise LoopBlocked


def foreign(function: Call) -> Call:
    """Decorates what calls code that is not agentdeck's: that code may be interrupted."""
    _CALLS.add(function.__code__)
    return function


def _called_by_agentdeck(frame: FrameType | None) -> bool:
    """Whether agentdeck called this code for an agent, and not the program that embeds agentdeck."""
    while frame is not None:
        if frame.f_code in _CALLS:
            return True
        frame = frame.f_back
    return False


@contextmanager
def interruptible() -> Iterator[None]:
    """Enables `interrupt` in the context. Has an effect in the main thread only."""
    global _ready
    if SIGNAL is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(SIGNAL, lambda _, frame: break_into(frame))
    _ready = True
    try:
        yield
    finally:
        _ready = False
        signal.signal(SIGNAL, before)
