"""Limits of a provider by name: tightened, turned by an operator, learnt from what the provider says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import Data, Definition, ProviderLimits, Rate
from agentdeck.workflow.units import rate, show_rate

NAMES = tuple(field.name for field in fields(ProviderLimits))


NO_LIMITS = ProviderLimits()


def caps_of(deck: Deck, definition: Definition) -> dict[str, ProviderLimits]:
    """The limits of each of the deck's providers, as the workflow tightens them."""
    own = definition.limits.providers
    return {name: tightest(one.limits, own.get(name, NO_LIMITS)) for name, one in deck.providers.items()}


def shown(caps: Mapping[str, ProviderLimits]) -> dict[str, Data]:
    """All of them that are set, by dotted name, as a person writes them."""
    return {f"{name}.{key}": value for name, limits in caps.items() for key, value in told(limits).items()}


def tightest(one: ProviderLimits, other: ProviderLimits) -> ProviderLimits:
    """Of each limit the lower one."""
    rates = {name: _lower(getattr(one, name), getattr(other, name)) for name in NAMES[:-1]}
    return ProviderLimits(**rates, concurrent=_fewer(one.concurrent, other.concurrent))


def _lower(one: Rate | None, other: Rate | None) -> Rate | None:
    if one is None or other is None:
        return one or other
    return one if one.per_minute <= other.per_minute else other


def _fewer(one: Data, other: Data) -> Data:
    """A number binds more than `auto`, which finds its own."""
    numbers = [value for value in (one, other) if isinstance(value, int)]
    return min(numbers) if numbers else one or other


def told(limits: ProviderLimits) -> dict[str, Data]:
    """Those that are set, as a person writes them."""
    given = {name: getattr(limits, name) for name in NAMES}
    return {
        name: show_rate(value) if isinstance(value, Rate) else value
        for name, value in given.items()
        if value is not None
    }


def read(name: str, value: Data) -> Rate | int | str | None:
    """The value of a limit as a person wrote it; None takes it away. ValueError, with a sentence, where it makes
    no sense; KeyError where there is no such limit."""
    if name not in NAMES:
        raise KeyError(name)
    if value in (None, "none"):
        return None
    if name != "concurrent":
        return value if isinstance(value, Rate) else rate(value)
    if value == "auto":
        return "auto"
    number = int(value)
    if not 0 <= number <= 10_000:
        raise ValueError(f"{value!r} is out of range: 0 to 10,000, or auto")
    return number


def turned(limits: ProviderLimits, changes: Mapping[str, Data]) -> ProviderLimits:
    """As an operator turned them."""
    changed: dict[str, Data] = {name: read(name, value) for name, value in changes.items()}
    return replace(limits, **changed) if changed else limits


def tighten(limits: ProviderLimits, learnt: Mapping[str, float]) -> ProviderLimits:
    """Lowered to what the provider itself says it allows per minute (`requests`, `tokens`, …), never raised."""
    rates: dict[str, Any] = {
        name: Rate(float(count), 60.0) for name, count in learnt.items() if name in NAMES[:-1] and count > 0
    }
    return tightest(limits, ProviderLimits(**rates)) if rates else limits
