"""How far the calls under way are: when each was sent, when its answer began, how long it has become.

What of that matters to a provider's limits is written to the store with its next transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import inf
from sys import maxsize

from agentdeck.engine.answer_lengths import STREAMED, OutputRates
from agentdeck.engine.clock import Clock
from agentdeck.engine.grant import Reservation
from agentdeck.engine.prompt_estimate import OUTPUT, PromptEstimates
from agentdeck.engine.reservation_batcher import ReservationBatcher
from agentdeck.errors import Fault
from agentdeck.limits.output_reservation import OutputForecast
from agentdeck.limits.rate_window import Amounts, counts_output, longest
from agentdeck.scheduler.events import Usage
from agentdeck.workflow.model import ProviderLimits

#: The store hears of an answer when it has become longer by so many tokens, long ones by this share.
STEP, SHARE = 16, 0.125
#: After faults of these kinds, it is not known whether the server counted the request.
UNHEARD = frozenset({"timeout", "cancelled", "network"})


class CallProgress:
    """All calls of a run to providers. `limits` returns a provider's limits as they are now."""

    def __init__(
        self,
        estimates: PromptEstimates,
        exchange: ReservationBatcher,
        clock: Clock,
        limits: Callable[[str], ProviderLimits],
    ) -> None:
        self._estimates = estimates
        self._exchange = exchange
        self._clock = clock
        self._limits = limits
        self._paces: dict[str, OutputRates] = defaultdict(OutputRates)

    def plan(self, grant: Reservation) -> None:
        """Set how long the answer of its next request may become, and what is expected of it."""
        limits = self._limits(grant.provider)
        most = grant.longest or max(OUTPUT, 2 * self._estimates.lengths(grant.rule).longest)
        if limits.output_tokens is not None:
            most = min(most, int(limits.output_tokens.count))
        if limits.tokens is not None:
            most = min(most, int(limits.tokens.count) - grant.want.tokens_in)
        grant.most = most
        grant.forecast = self._forecast(grant, 0) if counts_output(limits) else None

    def sent(self, grant: Reservation) -> None:
        """The last byte of its request has been written."""
        if grant.sent is None:
            grant.sent = self._clock.now()
            self._moved(grant, 0)

    def answered(self, grant: Reservation) -> None:
        """The answer to its request has begun, so the server has counted the request."""
        if grant.answered is None:
            grant.answered = self._clock.now()
            self._moved(grant)

    def grew(self, grant: Reservation, characters: int) -> int:
        """Its answer has so many characters by now. Returns the length at which to report again."""
        if not counts_output(self._limits(grant.provider)):
            return maxsize
        per_token = self._estimates.lengths(grant.rule).per_token
        said = int(characters / per_token)
        if characters:
            if grant.first_text_at is None:
                grant.first_text_at, grant.first_text = self._clock.now(), characters
            grant.said = characters
            self._moved(grant, said)
        return int((said + max(STEP, int(said * SHARE))) * per_token) + 1

    def next_request(self, grant: Reservation, used: Amounts | None) -> None:
        """One more request of its attempt is to begin; the last one `used` this, None where that is not known."""
        if grant.closed:
            return
        grant.end(self._clock.now(), heard=True)
        self._learn(grant, used)
        grant.before.append(used or self._unknown(grant))
        self._exchange.settle(grant, grant.before[-1])
        grant.restart()
        grant.closed = True

    def unused(self, grant: Reservation) -> None:
        """It was not called at all."""
        self._exchange.settle(grant, Amounts(0, 0, 0))

    def ended(self, grant: Reservation, usage: Usage | None, fault: Fault | None) -> None:
        """Its attempt has ended, and used this in all."""
        kind = "" if fault is None else fault.kind
        used = self.last(grant, usage)
        grant.end(self._clock.now(), heard=kind not in UNHEARD)
        if used is not None and (fault is None or used.tokens_out):
            self._learn(grant, used)
            want = used
        elif grant.answered is not None or fault is None:
            want = self._unknown(grant)  # the answer broke off
        elif kind in ("timeout", "cancelled"):
            want = self._unknown(grant)
        else:
            want = Amounts(0 if grant.sent is None else 1, 0, 0)
        if not grant.closed:
            self._exchange.settle(grant, want)
        if grant.number is not None:
            all_used = [] if used is None or fault is not None else [*grant.before, used]
            each = Usage(all_used[-1].tokens_in, max(one.tokens_out for one in all_used)) if all_used else None
            self._estimates.ended(grant.rule, grant.number, each, grant.estimate.length)

    def last(self, grant: Reservation, usage: Usage | None) -> Amounts | None:
        """What its last request used, where its attempt used this in all."""
        if usage is None or usage.tokens_in is None or usage.tokens_out is None:
            return None
        before_in = sum(one.tokens_in for one in grant.before)
        before_out = sum(one.tokens_out for one in grant.before)
        return Amounts(1, max(0, usage.tokens_in - before_in), max(0, usage.tokens_out - before_out))

    def _unknown(self, grant: Reservation) -> Amounts:
        """What is counted for a request whose usage is not known: all that it can have been until now."""
        now, forecast = self._clock.now(), grant.forecast
        most = grant.most if forecast is None else int(forecast.by(now, grant.most))
        return Amounts(1, grant.want.tokens_in, most)

    def _learn(self, grant: Reservation, used: Amounts | None) -> None:
        if used is None or not used.tokens_out:
            return
        now, tokens = self._clock.now(), used.tokens_out
        self._estimates.lengths(grant.rule).measure(tokens, grant.said)
        streamed = grant.first_text_at is not None and grant.first_text <= STREAMED * grant.said
        since = grant.first_text_at if streamed else grant.sent
        if since is not None:
            self._paces[grant.model].add(tokens, now - since)

    def _moved(self, grant: Reservation, said: int | None = None) -> None:
        """Write to the store how far it is, where a limit needs to know. `said` is how many tokens its answer
        has, where that is new."""
        limits = self._limits(grant.provider) if grant.provider else None
        if limits is None or not longest(limits):
            return
        if said is not None and counts_output(limits):
            if said > grant.most:
                grant.most = 2 * said  # it outgrows what it may have; the stream is not cut
            grant.forecast = self._forecast(grant, said)
        self._exchange.move(grant)

    def _forecast(self, grant: Reservation, said: int) -> OutputForecast:
        likely, spread = self._estimates.lengths(grant.rule).expect(said, grant.most)
        pace = self._paces[grant.model].most if grant.model in self._paces else inf
        return OutputForecast(said, self._clock.now(), likely, spread, pace)
