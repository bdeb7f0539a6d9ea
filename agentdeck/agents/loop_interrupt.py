"""Breaking into agents' code that holds up the loop: an async function that computes or blocks without awaiting.

A signal's handler runs in the main thread between two of its instructions, also while the loop does not turn, and
what it raises ends a blocking call as well. So it works only where the loop is the main thread's.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

HERE = str(Path(__file__).resolve().parents[1])
#: A signal that nothing else uses and that does nothing where nobody waits for it.
SIGNAL = getattr(signal, "SIGURG", None)
_ready = False


class LoopBlocked(BaseException):
    """Raised inside an agent that holds up the loop: `except Exception` does not stop it."""


def interrupt() -> bool:
    """From any thread: break into the agent that holds up the main thread's loop. False: not possible here."""
    if not _ready or SIGNAL is None:
        return False
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, SIGNAL)
    return True


def break_into(frame: FrameType | None) -> None:
    """Raise Stuck if this frame, where a signal came in, is an agent's own code. Ours is never broken."""
    if frame is not None and not frame.f_code.co_filename.startswith(HERE) and _called_by_an_agent(frame):
        raise LoopBlocked


def _called_by_an_agent(frame: FrameType | None) -> bool:
    python = sys.modules.get("agentdeck.agents.python")
    if python is None:
        return False
    code = python.PythonVerb.run.__code__
    while frame is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False


@contextmanager
def interruptible() -> Iterator[None]:
    """While this lasts, `interrupt` works. Only the main thread can ask for it; for others it changes nothing."""
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
