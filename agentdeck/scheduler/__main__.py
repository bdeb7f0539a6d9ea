"""Prints the tables of transitions: `python -m agentdeck.scheduler`."""

from agentdeck.scheduler.transitions import as_markdown

print(as_markdown(), end="")
