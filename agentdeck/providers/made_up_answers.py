"""Generates answers of the requested type. The same random generator gives the same answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

from agentdeck.workflow.model import Data

WORDS = (
    "clear",
    "short",
    "read",
    "twice",
    "shown",
    "left",
    "part",
    "order",
    "figure",
    "source",
    "reason",
    "result",
)
SENTENCES = (
    "{0} is clear, {1} is not.",
    "What is said of {0} holds.",
    "{0} comes before {1}.",
    "There is more to {0} than {1}.",
    "{0} and {1} belong together.",
    "Nothing speaks against {0}.",
)
_WORD = re.compile(r"[^\W\d_]{5,24}")


def words_of(prompt: str) -> Sequence[str]:
    """The words of a prompt that an answer may use."""
    found = tuple(dict.fromkeys(_WORD.findall(prompt[-4000:])))
    return found if len(found) > 8 else (*found, *WORDS)


def text(random: Random, words: int, about: Sequence[str] = WORDS) -> str:
    """Sentences with about this many words in all."""
    made: list[str] = []
    while sum(len(sentence.split()) for sentence in made) < words:
        sentence = random.choice(SENTENCES).format(*random.sample(about, 2))
        made.append(sentence[0].upper() + sentence[1:])
    return " ".join(made)


def fitting(schema: Mapping[str, Data], random: Random, about: Sequence[str] = WORDS) -> dict[str, Data]:
    """An object of this JSON Schema (see `typed.schema_of`)."""
    return {name: _value(field, random, about) for name, field in schema["properties"].items()}


def _value(field: Mapping[str, Data], random: Random, about: Sequence[str]) -> Data:
    if "enum" in field:
        return random.choice(field["enum"])
    match field.get("type"):
        case "number":
            return round(random.uniform(0, 10), 2)
        case "integer":
            return random.randint(0, 10)
        case "boolean":
            return random.random() < 0.5
        case "array":
            return [text(random, 3, about) for _ in range(random.randint(1, 3))]
        case "object":
            return {"note": text(random, 5, about)}
    return text(random, 20, about)
