"""How the providers stand, as this process sees it: called, resting, left alone, stopped."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from agentdeck.core.breaker import NEVER, Breaker
from agentdeck.core.pace import Pace
from agentdeck.errors import STOPPING, Fault

#: Kinds of faults that are the provider's.
BROKEN = frozenset({"server", "network", "timeout"})
#: Seconds to leave a provider alone that says "slower" and not for how long: twice as many each time, at most.
COOL, COOLEST = 1.0, 60.0
#: Processes come back at different moments: up to this share of the wait later, at most so many seconds.
SPREAD, SPREAD_MOST = 0.1, 2.0
#: While a provider comes back, whoever waits for it looks again after so long.
LOOK = 0.25


class Standing:
    """Who may be called. `tell` notes what an operator should know, `mend` says what to do about a provider that
    is stopped for a kind of fault; `learnt` is what providers say they allow."""

    def __init__(self, tell: Callable[[float, str], None], mend: Callable[[str, str], str]) -> None:
        self.learnt: dict[str, dict[str, float]] = {}
        self._tell = tell
        self._mend = mend
        self._breakers: dict[str, Breaker] = {}
        self._stopped: dict[str, str] = {}
        self._slower: dict[str, int] = {}
        self._paces: dict[str, Pace] = {}

    def start(self) -> None:
        """Those that were stopped are tried again."""
        self._stopped.clear()

    def choose(self, models: Sequence[tuple[str, str]], at: float) -> str:
        """The first model whose provider may be called; empty where none may."""
        for model, provider in models:
            if provider not in self._stopped and self._breaker(provider).shut(at) is None:
                return model
        return ""

    def soonest(self, providers: Sequence[str], at: float) -> tuple[str, float, str]:
        """Of providers that may not be called: which may be first, when, and what keeps it."""
        found = []
        for n, provider in enumerate(dict.fromkeys(providers)):
            breaker = self._breaker(provider)
            if provider in self._stopped:
                found.append((NEVER, n, provider, self._stopped[provider]))
            else:
                until, why = breaker.shut(at) or at, f"{provider} rests: {breaker.why}"
                if until == NEVER:
                    until, why = at + LOOK, f"{provider} comes back slowly: {breaker.why}"
                found.append((until, n, provider, why))
        until, _, provider, why = min(found)
        return provider, until, why

    def began(self, provider: str) -> None:
        self._breaker(provider).began()

    def ended(self, provider: str, at: float, fault: Fault | None, *, unused: bool = False) -> float | None:
        """A call ended. Gives until when everybody is to leave this provider alone, where it said so."""
        breaker, kind = self._breaker(provider), fault.kind if fault is not None else ""
        silent = unused or kind in STOPPING or kind in ("rate_limit", "cancelled")
        if breaker.ended(at, None if silent else kind not in BROKEN):
            self._tell(at, f"{provider} rests for {breaker.until - at:.0f} s: {breaker.why}")
        if not silent and kind not in BROKEN:
            self._slower.pop(provider, None)
        if fault is not None and kind in STOPPING and provider not in self._stopped:
            self._stopped[provider] = f"{provider} is stopped ({kind}): {fault.message}"
            self._tell(at, f"{self._stopped[provider]}; {self._mend(provider, kind)}")
        if fault is None or kind != "rate_limit":
            return None
        times = self._slower[provider] = self._slower.get(provider, 0) + 1
        wait = fault.retry_after
        until = at + (min(COOLEST, COOL * 2 ** (times - 1)) if wait is None else wait)
        self.cool(provider, until, f"{provider} asked to be left alone", at)
        return until

    def cool(self, provider: str, until: float, why: str, at: float) -> None:
        """Leave it alone until then, and a little longer, each process another while."""
        spread = random.random() * min(SPREAD_MOST, SPREAD * max(0.0, until - at))
        breaker = self._breaker(provider)
        if until > breaker.until:
            breaker.cool(until + spread, why)

    def places(self, provider: str, most: int) -> int:
        """How many calls at once are best, where that is to be found out."""
        pace = self._paces.get(provider)
        if pace is None:
            pace = self._paces[provider] = Pace(most)
        pace.most = most
        return min(most, pace.places)

    def paced(self, provider: str, at: float, seconds: float, fault: Fault | None) -> bool:
        """A call ended after so long. True: another number of places is best from now on."""
        pace = self._paces.get(provider)
        if pace is None:
            return False
        before = pace.places
        if fault is None:
            pace.ended(at, seconds, self._breaker(provider).live)
        elif fault.kind == "rate_limit":
            pace.refused(at)
        return pace.places != before

    def _breaker(self, provider: str) -> Breaker:
        found = self._breakers.get(provider)
        if found is None:
            found = self._breakers[provider] = Breaker()
        return found
