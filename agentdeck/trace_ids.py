"""Ids of traces and spans, derived from the names in a run.

The ids follow from the run, task, step and attempt: a command that an attempt starts gets them in
`TRACEPARENT`, `agentdeck logs --json` shows them, and exporting a run twice gives the same spans. Nothing of
OpenTelemetry is needed for that.
"""

from __future__ import annotations

from hashlib import blake2b


def trace_id(run: str, task: str = "") -> str:
    """The trace of a task and of the tasks nested in it: 32 hexadecimal digits. Without a task, the trace of the
    run itself, which only runs of several tasks have."""
    return _digest(16, run, task.partition("/")[0])


def span_id(run: str, *names: object) -> str:
    """The span of these names: 16 hexadecimal digits."""
    return _digest(8, run, *names)


def attempt_span_id(run: str, task: str, step: str, attempt: int) -> str:
    """The span of an attempt. Numbers of attempts are never used again within a task."""
    return span_id(run, task, step, "attempt", attempt)


def attempt_ids(run: str, task: str, step: str, attempt: int) -> dict[str, str]:
    """The ids of an attempt by the names that logs use for them."""
    return {"trace_id": trace_id(run, task), "span_id": attempt_span_id(run, task, step, attempt)}


def traceparent(run: str, task: str, step: str, attempt: int) -> str:
    """The W3C trace context of an attempt, marked as sampled: processes that it starts add their spans to it."""
    return f"00-{trace_id(run, task)}-{attempt_span_id(run, task, step, attempt)}-01"


def _digest(size: int, *names: object) -> str:
    """A hash that is not zero, which OpenTelemetry reserves: with 64 bits that never happens in practice."""
    text = "\0".join(map(str, names))
    return blake2b(text.encode("utf-8", "backslashreplace"), digest_size=size, person=b"agentdeck").hexdigest()
