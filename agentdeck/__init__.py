"""agentdeck: an operator's console for multi-agent workflows."""

from __future__ import annotations

# Importing `typing` takes 20 ms, in which Ctrl-C would show a traceback: the handler is set later.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentdeck.agents.python_runner import Context
    from agentdeck.api import Result, RunBlocked, RunFailed, Workflow
    from agentdeck.errors import AgentdeckError, Permanent

__version__ = "0.1.0"
__all__ = [
    "AgentdeckError",
    "Context",
    "Permanent",
    "Result",
    "RunBlocked",
    "RunFailed",
    "Workflow",
    "__version__",
]

_HOMES = {
    "AgentdeckError": "agentdeck.errors",
    "Context": "agentdeck.agents.python_runner",
    "Permanent": "agentdeck.errors",
    "Result": "agentdeck.api",
    "RunBlocked": "agentdeck.api",
    "RunFailed": "agentdeck.api",
    "Workflow": "agentdeck.api",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: starting up stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'agentdeck' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
