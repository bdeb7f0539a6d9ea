"""Exceptions of an agent's own code, as the failures that are recorded.

Imports nothing but the standard library and modules that do the same: it also runs in interpreters that do not
have agentdeck's dependencies."""

from __future__ import annotations

import traceback
from pathlib import Path

from agentdeck.errors import KINDS, Permanent, StepError, described

HERE = str(Path(__file__).resolve().parents[1])


def step_error(error: BaseException) -> StepError:
    """An exception of an agent's own code as a StepError."""
    if isinstance(error, StepError):
        if error.fault.kind in KINDS:
            return error
        return StepError("exception", f"StepError of the unknown kind {error.fault.kind!r:.60}: {error}")
    if isinstance(error, Permanent):
        made = StepError("permanent", str(error) or "permanent", detail=_trace(error))
    else:
        what = described(error) if isinstance(error, Exception) else f"raised {described(error)}"
        made = StepError("exception", what, detail=_trace(error))
    made.exception = error
    return made


def _trace(error: BaseException) -> str:
    """The traceback, from the first frame outside of agentdeck."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(HERE)]
    lines = [*traceback.format_list(frames[-20:]), *traceback.format_exception_only(error)]
    return "".join(lines)[-8000:]
