"""Resources that the running steps of a run share, such as GPUs: their limits, and what is in use.

Amounts are whole thousandths, so that sums are exact: 0.1 ten times is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from agentdeck.workflow.units import thousandths

#: What a step uses: the amounts by name of the resource.
Uses: TypeAlias = tuple[tuple[str, int], ...]


class Resource:
    """One resource. `used` is what running steps hold, `requested` what is kept for steps whose reservation is
    requested, and `released` the sum of all that was given back so far."""

    __slots__ = ("limit", "released", "requested", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = self.requested = self.released = 0

    @property
    def free(self) -> int:
        """What may be taken. Negative while more is in use than the limit now allows."""
        return self.limit - self.used - self.requested


class Resources:
    """All resources of a run, by name. `releases` counts the moments at which more may have become free."""

    #: The limit of a resource that has none. `check` refuses such a workflow; one built in code may have one.
    UNLIMITED: Final = 10**15

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.by_name = {name: Resource(limit) for name, limit in limits.items()}
        self.releases = 0

    def lacking(self, uses: Uses) -> str:
        """The name of the first resource of which less is free than this, empty where all of it is."""
        for name, amount in uses:
            if self.by_name[name].free < amount:
                return name
        return ""

    def beyond_limit(self, uses: Uses) -> str:
        """The name of the first resource of which this is more than its limit, empty where there is none."""
        for name, amount in uses:
            if self.by_name[name].limit < amount:
                return name
        return ""

    def take(self, uses: Uses) -> None:
        """An attempt that uses this has started."""
        for name, amount in uses:
            self.by_name[name].used += amount

    def release(self, uses: Uses) -> None:
        """An attempt that used this has ended."""
        for name, amount in uses:
            resource = self.by_name[name]
            resource.used -= amount
            resource.released += amount
        self.releases += 1

    def request(self, uses: Uses) -> None:
        """Keep this for a step whose reservation is requested."""
        for name, amount in uses:
            self.by_name[name].requested += amount

    def withdraw(self, uses: Uses) -> None:
        """The request is answered: nothing is kept for it any more."""
        for name, amount in uses:
            self.by_name[name].requested -= amount
        self.releases += 1

    def set_limit(self, name: str, limit: float) -> None:
        """Change a limit. One below what is in use takes nothing away."""
        self.by_name[name].limit = thousandths(limit)
        self.releases += 1


def uses_of(amounts: Mapping[str, float]) -> Uses:
    """What an agent uses, as the scheduler counts it."""
    return tuple([(name, thousandths(amount)) for name, amount in amounts.items()])
