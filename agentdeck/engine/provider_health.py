"""How the providers stand, as this process sees it: called, slowed down, left alone, stopped."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from agentdeck.engine.model_access import ModelAccess
from agentdeck.errors import STOPPING, Fault
from agentdeck.limits.adaptive_concurrency import AdaptiveConcurrency
from agentdeck.limits.circuit_breaker import NEVER, CircuitBreaker, Outcome
from agentdeck.workflow.units import show_duration

#: Kinds of faults that are the provider's.
FAILED = frozenset({"server", "network", "timeout"})
#: Kinds of faults that tell nothing of how it works.
SILENT = frozenset({*STOPPING, "forbidden", "cancelled"})
#: Processes come back at different moments: up to this share of the wait later, at most so many seconds.
SPREAD, SPREAD_MOST = 0.1, 2.0
#: While a provider comes back, whoever waits for it looks again after so long.
LOOK = 0.25


class ProviderHealth:
    """Who may be called. `tell` notes what an operator should know, `mend` says what to do about a provider that
    is stopped for a kind of fault; `learnt` is what providers say they allow."""

    def __init__(self, tell: Callable[[float, str], None], mend: Callable[[str, str], str]) -> None:
        self.learnt: dict[str, dict[str, float]] = {}
        self._tell = tell
        self._mend = mend
        self._breakers: dict[str, CircuitBreaker] = {}
        self._stopped: dict[str, str] = {}
        self._access = ModelAccess()
        self._paces: dict[str, AdaptiveConcurrency] = {}

    def start(self) -> None:
        """Those that were stopped are tried again."""
        self._stopped.clear()
        self._access.reopen()

    def choose(self, models: Sequence[tuple[str, str]], at: float) -> str:
        """The first of (model, provider) that may be called; empty where none may."""
        for model, provider in models:
            stopped = provider in self._stopped or model in self._access.closed
            if not stopped and self._breaker(provider).shut(at) is None:
                return model
        return ""

    def soonest(self, models: Sequence[tuple[str, str]], at: float) -> tuple[str, float, str]:
        """Of models that may not be called: the pool of the one that may be first, when, and what keeps it."""
        found = []
        for n, (model, provider) in enumerate(models):
            breaker = self._breaker(provider)
            stopped = self._stopped.get(provider) or self._access.closed.get(model)
            if stopped:
                # Other models of the provider may be asked: what waits for this one waits by itself.
                found.append(
                    (NEVER, n, provider if provider in self._stopped else f"{provider}/{model}", stopped)
                )
            else:
                until, why = breaker.shut(at) or at, f"{provider} is left alone: {breaker.why}"
                if until == NEVER:
                    until, why = at + LOOK, f"{provider} comes back slowly: {breaker.why}"
                found.append((until, n, provider, why))
        until, _, pool, why = min(found)
        return pool, until, why

    def began(self, provider: str) -> int:
        """A call begins. Returns the epoch of its provider's breaker, which `ended` is to be given."""
        return self._breaker(provider).began()

    def unused(self, provider: str, epoch: int) -> None:
        """It was never sent."""
        self._breaker(provider).ended(0.0, None, epoch)

    def ended(
        self, provider: str, epoch: int, at: float, fault: Fault | None, asked: float | None = None
    ) -> float | None:
        """A call ended. `asked` is the Retry-After that the server sent, where that is longer than what the fault
        says. Returns until when every process is to leave this provider alone, where that is news."""
        breaker, kind = self._breaker(provider), fault.kind if fault is not None else ""
        if fault is not None and kind in ("auth", "quota") and provider not in self._stopped:
            self._stop(provider, kind, fault.message, at)
        outcome: Outcome | None = "good"
        if kind in SILENT:
            outcome = None
        elif kind in FAILED:
            outcome = "failed"
        elif kind == "rate_limit":
            outcome = "throttled"
        wait = fault.retry_after if fault is not None and kind == "rate_limit" else None
        why = "" if wait is None else f"it asked to wait {_waiting(wait, asked)}"
        held_back = breaker.ended(at, outcome, epoch, wait, why)
        if held_back and kind in FAILED:
            self._tell(at, f"{provider} rests for {breaker.until - at:.0f} s: {breaker.why}")
            return None
        if held_back and asked is not None:
            self._tell(at, f"{provider} is left alone: {breaker.why}")
        if not held_back:
            return None
        until = breaker.until
        breaker.until += _spread(until - at)
        return until

    def answered(self, model: str, provider: str) -> None:
        self._access.answered(model, provider)

    def refused(
        self, model: str, provider: str, step: tuple[str, str], at: float, fault: Fault, *, others: bool
    ) -> Fault:
        """A 403 about a model (`model`), or one that does not say what it is about (`forbidden`). `others`: the
        step may still ask another model. Returns the fault as the core is to take it: `model` where the model or
        its provider is not asked any more, `forbidden` where another model is asked, else `refused`."""
        of = "model" if fault.kind == "model" else self._access.unclear(model, provider, step)
        if of == "prompt":
            if others:
                return fault._replace(retry_after=0.0)
            return fault._replace(kind="refused", message=f"{fault.message}; {model} answers other prompts")
        if of == "provider" and provider not in self._stopped:
            self._stop(provider, "auth", f"it refuses more than one model: {fault.message}", at)
        elif self._access.close(model, fault):
            self._tell(at, f"{self._access.closed[model]}; {self._mend(provider, 'model')}")
        return fault._replace(kind="model")

    def cool(self, provider: str, until: float, why: str, at: float) -> None:
        """Leave it alone until then, and a little longer, each process another while."""
        breaker = self._breaker(provider)
        if until > breaker.until:
            breaker.cool(until + _spread(until - at), why)

    def places(self, provider: str, most: int) -> int:
        """How many calls at once are best, where that is to be found out."""
        pace = self._paces.get(provider)
        if pace is None:
            pace = self._paces[provider] = AdaptiveConcurrency(most)
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

    def _stop(self, provider: str, kind: str, why: str, at: float) -> None:
        self._stopped[provider] = f"{provider} is stopped ({kind}): {why}"
        self._tell(at, f"{self._stopped[provider]}; {self._mend(provider, kind)}")

    def _breaker(self, provider: str) -> CircuitBreaker:
        found = self._breakers.get(provider)
        if found is None:
            found = self._breakers[provider] = CircuitBreaker()
        return found


def _spread(wait: float) -> float:
    return random.random() * min(SPREAD_MOST, SPREAD * max(0.0, wait))


def _waiting(wait: float, asked: float | None) -> str:
    """How long it asked to wait, and how much of that is granted."""
    if asked is None:
        return _time(wait)
    return f"{_time(asked)}, capped at {_time(wait)} (max_retry_after)"


def _time(seconds: float) -> str:
    return show_duration(round(seconds, 2) if seconds < 60 else round(seconds))
