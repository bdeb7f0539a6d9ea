"""agentdeck: an operator's console for multi-agent workflows."""

from __future__ import annotations

# Importing `typing` takes 20 ms, in which Ctrl-C would show a traceback: the handler is set later.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentdeck.agents.function_call import Context
    from agentdeck.api.failures import RunBlocked, RunFailed
    from agentdeck.api.run import Run
    from agentdeck.api.store import Store, open_store
    from agentdeck.api.workflow import Workflow
    from agentdeck.documents.question import Question
    from agentdeck.documents.result import Result, StepFault, StepResult, TaskResult
    from agentdeck.documents.run import RunStatus
    from agentdeck.documents.run_event import RunEvent
    from agentdeck.engine.retry_rule import FailedAttempt
    from agentdeck.errors import AgentdeckError, InvalidFile, Permanent, StoreError, UsageError

__version__ = "0.2.0"
__all__ = [
    "AgentdeckError",
    "Context",
    "FailedAttempt",
    "InvalidFile",
    "Permanent",
    "Question",
    "Result",
    "Run",
    "RunBlocked",
    "RunEvent",
    "RunFailed",
    "RunStatus",
    "StepFault",
    "StepResult",
    "Store",
    "StoreError",
    "TaskResult",
    "UsageError",
    "Workflow",
    "__version__",
    "open_store",
]

_HOMES = {
    "AgentdeckError": "agentdeck.errors",
    "Context": "agentdeck.agents.python_runner",
    "FailedAttempt": "agentdeck.engine.retry_rule",
    "InvalidFile": "agentdeck.errors",
    "Permanent": "agentdeck.errors",
    "Question": "agentdeck.documents.question",
    "Result": "agentdeck.documents.result",
    "Run": "agentdeck.api.run",
    "RunBlocked": "agentdeck.api.failures",
    "RunEvent": "agentdeck.documents.run_event",
    "RunFailed": "agentdeck.api.failures",
    "RunStatus": "agentdeck.documents.run",
    "StepFault": "agentdeck.documents.result",
    "StepResult": "agentdeck.documents.result",
    "Store": "agentdeck.api.store",
    "StoreError": "agentdeck.errors",
    "TaskResult": "agentdeck.documents.result",
    "UsageError": "agentdeck.errors",
    "Workflow": "agentdeck.api.workflow",
    "open_store": "agentdeck.api.store",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: starting up stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'agentdeck' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
