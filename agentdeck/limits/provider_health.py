"""Health of each provider in this process: available, cooling down, returning or stopped; and of its models.

A 403 can be about the key, about one model or about one prompt, and many servers do not say which. Where the
body says it, the fault's kind does (`providers/provider_errors.py`). A 403 without a reason is attributed to the
model, which does the least harm: the tier's next model answers. It is attributed to the prompt where the model
has answered others with the same key, and to the provider once other models of it are refused in the same way.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence

from agentdeck.errors import STOPPING, Fault
from agentdeck.limits.adaptive_concurrency import AdaptiveConcurrency
from agentdeck.limits.answer_speed import AnswerSpeed
from agentdeck.limits.circuit_breaker import NEVER, CircuitBreaker, Outcome
from agentdeck.limits.header_ceiling import HeaderCeiling
from agentdeck.limits.reservations import Amounts
from agentdeck.workflow.units import show_duration

#: Kinds of faults that count as failures of the provider.
FAILED = frozenset({"server", "network", "timeout"})
#: Kinds of faults that say nothing about the provider's health.
SILENT = frozenset({*STOPPING, "forbidden", "cancelled"})
#: Processes return to a provider at different times: later by up to this share of the wait, and this many
#: seconds.
SPREAD, SPREAD_MOST = 0.1, 2.0
#: Seconds after which calls are tried again while the provider's breaker admits only some.
LOOK = 0.25
#: Steps that a working model refuses in a row without a reason, after which the model counts as not available.
IN_A_ROW = 3


class ProviderHealth:
    """Which providers and models may be called. `notify` records a note for the operator, `remedy` returns what
    to do about a provider that is stopped for a kind of fault. `learnt` is what providers report as their
    limits."""

    def __init__(self, notify: Callable[[float, str], None], remedy: Callable[[str, str], str]) -> None:
        self.learnt: dict[str, dict[str, float]] = {}
        self._notify = notify
        self._remedy = remedy
        self._breakers: dict[str, CircuitBreaker] = defaultdict(CircuitBreaker)
        self._stopped: dict[str, str] = {}
        self._access = ModelAccess()
        self._concurrency: dict[str, AdaptiveConcurrency] = {}
        self._ceilings: dict[str, HeaderCeiling] = defaultdict(HeaderCeiling)

    def reopen(self) -> None:
        """Try stopped providers and closed models again."""
        self._stopped.clear()
        self._access.reopen()

    def choose(self, models: Sequence[tuple[str, str]], at: float) -> str:
        """The first of (model, provider) that may be called; empty where none may."""
        for model, provider in models:
            stopped = provider in self._stopped or model in self._access.closed
            if not stopped and self._breakers[provider].blocked_until(at) is None:
                return model
        return ""

    def soonest(self, models: Sequence[tuple[str, str]], at: float) -> tuple[str, float, str]:
        """Of models that may not be called: the queue of the one that may be called first, when, and why not
        now."""
        found = []
        for n, (model, provider) in enumerate(models):
            breaker = self._breakers[provider]
            stopped = self._stopped.get(provider) or self._access.closed.get(model)
            if stopped:
                # Other models of the provider may be called, so steps that need this one have a queue of their
                # own.
                queue = provider if provider in self._stopped else f"{provider}/{model}"
                found.append((NEVER, n, queue, stopped))
            else:
                until, why = breaker.blocked_until(at) or at, f"{provider} is not called for now: {breaker.why}"
                if until == NEVER:
                    until, why = at + LOOK, f"{provider} is recovering, with few calls at once: {breaker.why}"
                found.append((until, n, provider, why))
        until, _, queue, why = min(found)
        return queue, until, why

    def began(self, provider: str) -> int:
        """A call begins. Returns the epoch of the provider's breaker, to be passed to `ended` or `unused`."""
        return self._breakers[provider].began()

    def unused(self, provider: str, epoch: int) -> None:
        """The call was never sent."""
        self._breakers[provider].ended(0.0, None, epoch)

    def ended(
        self, provider: str, epoch: int, at: float, fault: Fault | None, asked: float | None = None
    ) -> float | None:
        """A call ended. `asked` is the Retry-After of the server, where the fault has a shorter one. Returns
        until when all processes have to leave the provider alone, where this call changes that."""
        breaker, kind = self._breakers[provider], fault.kind if fault is not None else ""
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
        why = "" if wait is None else f"the server asked to wait {_wait_text(wait, asked)}"
        held_back = breaker.ended(at, outcome, epoch, wait, why)
        if held_back and kind in FAILED:
            self._notify(at, f"{provider} is not called for {breaker.until - at:.0f} s: {breaker.why}")
            return None
        if held_back and asked is not None:
            self._notify(at, f"{provider} is not called for now: {breaker.why}")
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
        """A 403 about a model (`model`), or one without a reason (`forbidden`). `others`: the step may still ask
        another model. Returns the fault for the scheduler: `model` where the model or its provider is not called
        any more, `forbidden` where another model is asked, else `refused`."""
        about = "model" if fault.kind == "model" else self._access.attribute(model, provider, step)
        if about == "prompt":
            if others:
                return fault._replace(retry_after=0.0)
            return fault._replace(kind="refused", message=f"{fault.message}; {model} answers other prompts")
        if about == "provider" and provider not in self._stopped:
            self._stop(provider, "auth", f"more than one of its models was refused: {fault.message}", at)
        elif self._access.close(model, fault):
            self._notify(at, f"{self._access.closed[model]}; {self._remedy(provider, 'model')}")
        return fault._replace(kind="model")

    def cool_down(self, provider: str, until: float, why: str, at: float) -> None:
        """Leave a provider alone until then, and a little longer, by a different time in each process."""
        breaker = self._breakers[provider]
        if until > breaker.until:
            breaker.hold_back(until + _spread(until - at), why)

    def places(self, provider: str, most: int, at: float) -> int:
        """The best number of concurrent calls, for a provider whose limit is `auto`."""
        found = self._concurrency.get(provider)
        if found is None:
            found = self._concurrency[provider] = AdaptiveConcurrency(most)
        found.most = most
        ceiling = min(float(most), self._ceilings[provider].calls(at))
        return max(1, min(int(ceiling), found.places))

    def record_speed(self, provider: str, at: float, speed: AnswerSpeed, kind: tuple[str, str]) -> bool:
        """A request succeeded, of this model and agent. Returns whether the best number of concurrent calls has
        changed."""
        found = self._concurrency.get(provider)
        if found is None:
            return False
        before = found.places
        found.record_success(at, speed, self._breakers[provider].live, kind)
        return found.places != before

    def record_refusal(self, provider: str, at: float, began: float) -> bool:
        """A request that began then was refused, because the provider has too many. Returns the same."""
        found = self._concurrency.get(provider)
        if found is None:
            return False
        before = found.places
        found.record_refusal(at, began)
        return found.places != before

    def record_use(self, provider: str, used: Amounts) -> None:
        """A request has used this."""
        self._ceilings[provider].record_use(used)

    def record_left(self, provider: str, at: float, rate: str, limit: float, left: float, reset: float) -> None:
        """What an answer's headers say is left of a rate, and after how many seconds all of it is there again."""
        self._ceilings[provider].record(at, rate, limit, left, reset)

    def _stop(self, provider: str, kind: str, why: str, at: float) -> None:
        self._stopped[provider] = f"{provider} is stopped ({kind}): {why}"
        self._notify(at, f"{self._stopped[provider]}; {self._remedy(provider, kind)}")


class ModelAccess:
    """The models that may not be used with their provider's key, each with the reason, until the operator changes
    something."""

    def __init__(self) -> None:
        self.closed: dict[str, str] = {}
        self._answered: set[str] = set()
        self._refused: dict[str, set[tuple[str, str]]] = {}
        self._without_reason: dict[str, set[str]] = {}

    def reopen(self) -> None:
        """Try all models again."""
        self.closed.clear()
        self._refused.clear()
        self._without_reason.clear()

    def answered(self, model: str, provider: str) -> None:
        """A model answered: the key is valid, and the model may be used with it."""
        self._answered.add(model)
        self._refused.pop(model, None)
        self._without_reason.pop(provider, None)

    def close(self, model: str, fault: Fault) -> bool:
        """Stop using a model. Returns whether it was in use."""
        new = model not in self.closed
        self.closed[model] = f"model {model} is not available: {fault.message}"
        return new

    def attribute(self, model: str, provider: str, step: tuple[str, str]) -> str:
        """What a 403 without a reason is about: `prompt`, `model` or `provider`."""
        steps = self._refused.setdefault(model, set())
        steps.add(step)
        if model in self._answered and len(steps) < IN_A_ROW:
            return "prompt"
        models = self._without_reason.setdefault(provider, set())
        models.add(model)
        return "provider" if len(models) > 1 else "model"


def _spread(wait: float) -> float:
    return random.random() * min(SPREAD_MOST, SPREAD * max(0.0, wait))


def _wait_text(wait: float, asked: float | None) -> str:
    """The wait that the server asked for, and how much of it is granted."""
    if asked is None:
        return _duration(wait)
    return f"{_duration(asked)}, capped at {_duration(wait)} (max_retry_after)"


def _duration(seconds: float) -> str:
    return show_duration(round(seconds, 2) if seconds < 60 else round(seconds))
