"""The values of limits: parsing, ranges, the lower of two, changes by the operator, what a provider reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import PLACE_LIMIT, Data, Definition, ProviderLimits, Rate
from agentdeck.workflow.units import MOST, rate, rate_without_burst, show_rate

#: The names of a provider's limits.
NAMES = tuple(field.name for field in fields(ProviderLimits))
#: Those that may have a burst: what a request takes of them is known when it is sent.
SPACED = ("requests", "input_tokens")
NO_LIMITS = ProviderLimits()
#: The lowest and the highest value of the other limits, by the last part of the limit's dotted name.
RANGES: dict[str, tuple[float, float]] = {
    "workers": (0, 10_000),
    "timeout": (0.001, 30 * 86_400),
    "attempts": (1, 1_000),
    "max_parallel": (0, 10_000),
}


def is_resource(name: str) -> bool:
    """Whether a limit is that of a shared resource, such as the slots of a place (`place.NAME`): all others have
    dotted names, except `workers`."""
    head, _, rest = name.partition(".")
    return name != "workers" and (not rest or (head == PLACE_LIMIT and "." not in rest and rest not in NAMES))


def range_of(name: str) -> tuple[float, float]:
    """The lowest and the highest value of a limit; none may be negative."""
    return RANGES.get(name.rsplit(".", 1)[-1], (0, MOST if is_resource(name) else math.inf))


def caps_of(deck: Deck, definition: Definition) -> dict[str, ProviderLimits]:
    """The limits of each of the deck's providers, as the workflow tightens them."""
    own = definition.limits.providers
    return {name: tightest(one.limits, own.get(name, NO_LIMITS)) for name, one in deck.providers.items()}


def all_in_deck_notation(caps: Mapping[str, ProviderLimits]) -> dict[str, Data]:
    """All limits that are set, by dotted name, in the notation of the deck."""
    return {
        f"{name}.{key}": value for name, limits in caps.items() for key, value in in_deck_notation(limits).items()
    }


def tightest(one: ProviderLimits, other: ProviderLimits) -> ProviderLimits:
    """The lower value of each limit."""
    rates = {name: _lower(getattr(one, name), getattr(other, name)) for name in NAMES[:-1]}
    return ProviderLimits(**rates, concurrent=_fewer(one.concurrent, other.concurrent))


def _lower(one: Rate | None, other: Rate | None) -> Rate | None:
    """The lower rate, with the smaller burst: a lower rate without one is spaced out like the other."""
    if one is None or other is None:
        return one or other
    lower = one if one.per_minute <= other.per_minute else other
    bursts = [each.burst for each in (one, other) if each.burst is not None]
    return replace(lower, burst=min(*bursts, max(1, int(lower.count)))) if bursts else lower


def _fewer(one: Data, other: Data) -> Data:
    """A number is lower than `auto`."""
    numbers = [value for value in (one, other) if isinstance(value, int)]
    return min(numbers) if numbers else one or other


def in_deck_notation(limits: ProviderLimits) -> dict[str, Data]:
    """The limits that are set, in the notation of the deck."""
    given = {name: getattr(limits, name) for name in NAMES}
    return {
        name: show_rate(value) if isinstance(value, Rate) else value
        for name, value in given.items()
        if value is not None
    }


def why_full(provider: str, limits: ProviderLimits, reason: str) -> str:
    """What holds a call back for this reason, for the operator."""
    if reason == "pace":
        spaced = {name: value for name in SPACED if (value := getattr(limits, name)) is not None and value.burst}
        return f"{provider}: " + ", ".join(f"{name} {show_rate(value)}" for name, value in spaced.items())
    full = ", ".join(f"{name} {value}" for name, value in in_deck_notation(limits).items() if reason in name)
    return f"{provider}: {full or reason} used up"


def read(name: str, value: Data) -> Rate | int | str | None:
    """The value of a limit in the notation of the deck; None removes the limit. Raises ValueError with a
    sentence for an invalid value, KeyError for an unknown name."""
    if name not in NAMES:
        raise KeyError(name)
    if value in (None, "none"):
        return None
    if name in SPACED:
        return value if isinstance(value, Rate) else rate(value)
    if name != "concurrent":
        return value if isinstance(value, Rate) else rate_without_burst(value)
    if value == "auto":
        return "auto"
    number = int(value)
    if not 0 <= number <= 10_000:
        raise ValueError(f"{value!r} is out of range: 0 to 10,000, or auto")
    return number


def with_changes(limits: ProviderLimits, changes: Mapping[str, Data]) -> ProviderLimits:
    """The limits with the changes of an operator."""
    changed: dict[str, Data] = {name: read(name, value) for name, value in changes.items()}
    return replace(limits, **changed) if changed else limits


def tighten(limits: ProviderLimits, learnt: Mapping[str, float]) -> ProviderLimits:
    """The limits, lowered to what the provider reports per minute (`requests`, `tokens`, …), never raised."""
    rates: dict[str, Any] = {
        name: Rate(float(count), 60.0) for name, count in learnt.items() if name in NAMES[:-1] and count > 0
    }
    return tightest(limits, ProviderLimits(**rates)) if rates else limits
