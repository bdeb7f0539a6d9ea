"""Workflows that the tests of the Python API run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from agentdeck import Workflow


def shop(broken: set[str] | None = None) -> Workflow:
    """Two agents, of which the second fails for the texts in `broken`."""
    made = Workflow("shop", defaults={"retry": 1})
    bad = broken if broken is not None else set()

    @made.agent
    async def extract(text: str) -> dict[str, str]:
        return {"text": text}

    @made.agent
    async def payment(extract: Mapping[str, str]) -> dict[str, Any]:
        if extract["text"] in bad:
            raise ValueError(f"no money for {extract['text']}")
        return {"paid": extract["text"]}

    return made


def slow(gate: asyncio.Event) -> Workflow:
    """One agent, which ends when the gate opens."""
    made = Workflow("slow")

    @made.agent
    async def work(n: int = 0) -> int:
        await gate.wait()
        return n

    return made


def asking(**approve: Any) -> Workflow:
    """An approval that shows the order, and an agent after it."""
    made = Workflow("asking", inputs={"text": {"type": "string", "default": "2 x KB-87"}}, output="${end}")
    made.add("gate", approve={"ask": "Pay for ${inputs.text}?", "show": "${inputs}", **approve})

    @made.agent
    def end(gate: Mapping[str, Any]) -> Mapping[str, Any]:
        return gate

    return made
