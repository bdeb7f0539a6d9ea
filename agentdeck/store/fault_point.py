"""Named points at which a test can have this process killed, as by `kill -9`.

`AGENTDECK_FAULT=commit.after:3` kills it when it reaches `commit.after` for the third time. Unset, reaching
one costs a comparison.
"""

from __future__ import annotations

import os
import signal

#: Where the process can be killed, in the order of a run's life.
POINTS = (
    "run.created",  # its row, its lease and its first event are on disk
    "attempt.started",  # before the effect
    "attempt.effected",  # after the effect, before its result is handed to the log
    "once.claimed",  # the intent is on disk, the effect has not begun
    "once.effected",  # the effect took place, nothing of it is recorded yet
    "once.done",  # the result of `once` is on disk, the step's is not
    "commit.before",  # all of a batch is written, nothing committed
    "commit.after",  # committed, and not reported yet
    "rates.reserved",  # room for a call is on disk, the call is not made
    "lease.renewed",
    "command.taken",  # a command is taken, nothing of it is done
    "command.done",  # it is carried out, not answered yet
    "run.ended",  # the last event is handed to the log, the row says running
    "lease.taken",  # by the process that resumes
    "resume.folded",  # the state is restored, nothing is recorded
)

_POINT, _, _COUNT = os.environ.get("AGENTDECK_FAULT", "").partition(":")
_left = int(_COUNT or 1)


def reach_fault_point(point: str) -> None:
    """Kill this process here if the environment asks for it."""
    global _left
    if point != _POINT:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
