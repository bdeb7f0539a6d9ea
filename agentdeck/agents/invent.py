"""Answers of simulated agents: made up, but of the type that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from agentdeck.workflow.model import Data, Type

WORDS = ("clear", "short", "read", "twice", "shown", "what", "could", "not", "be", "left", "out", "the", "part")


def text(random: Random, words: int) -> str:
    """So many words."""
    return " ".join(random.choice(WORDS) for _ in range(words))


def fitting(output: Mapping[str, Type], random: Random) -> dict[str, Data]:
    """An object with every field of a typed output."""
    return {name: _value(kind, random) for name, kind in output.items()}


def _value(kind: Type, random: Random) -> Data:
    match kind.kind:
        case "choice":
            return random.choice(kind.choices)
        case "number":
            return round(random.uniform(0, 10), 2)
        case "integer":
            return random.randint(0, 10)
        case "boolean":
            return random.random() < 0.5
        case "list":
            return [text(random, 4) for _ in range(random.randint(1, 3))]
        case "object":
            return {"note": text(random, 5)}
    return text(random, 24)
