"""The tier of a prompt, with escalations and downgrades."""

from __future__ import annotations

from agentdeck.workflow.model import Agent

TIERS = ("routing", "execution", "reasoning")
DEFAULT = "execution"


def tier_of(agent: Agent, shift: int = 0) -> str:
    """The agent's tier, moved up by `shift`, or down where negative. A tier that the deck defines itself does not
    move."""
    tier = agent.tier or DEFAULT
    if not shift or tier not in TIERS:
        return tier
    return TIERS[min(len(TIERS) - 1, max(0, TIERS.index(tier) + shift))]
