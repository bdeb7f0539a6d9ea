"""agentdeck: an operator's console for multi-agent workflows."""

__version__ = "0.1.0"
