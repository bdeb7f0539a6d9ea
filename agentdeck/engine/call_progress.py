"""Progress of the calls under way: when each request was sent, when its answer began, how long the answer is.

What matters to a provider's limits is written to the store with its next transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from sys import maxsize

from agentdeck.engine.clock import Clock
from agentdeck.engine.prompt_estimate import PromptEstimates
from agentdeck.engine.reservation import Reservation
from agentdeck.engine.reservation_batcher import ReservationBatcher
from agentdeck.errors import Fault
from agentdeck.limits.answer_speed import STREAMED, answer_speed, is_streamed
from agentdeck.limits.hedging import AnswerTimes
from agentdeck.limits.output_reservation import OutputForecast
from agentdeck.limits.provider_health import ProviderHealth
from agentdeck.limits.rate_window import counts_output, longest
from agentdeck.limits.reservations import Amounts, RequestProgress
from agentdeck.limits.token_estimates import OUTPUT, OutputRates
from agentdeck.scheduler.events import Usage
from agentdeck.workflow.model import ProviderLimits

#: An answer is reported to the store when it has grown by STEP tokens, a long one by this share.
STEP, SHARE = 16, 0.125
#: Kinds of faults after which it is not known whether the server counted the request.
UNANSWERED = frozenset({"timeout", "cancelled", "network"})


@dataclass(slots=True, eq=False)
class CallProgress:
    """All calls of a run to providers. `limits` returns a provider's current limits; `health` and `times`, by
    agent and model, learn how fast requests were answered. `found` is called when the best number of concurrent
    calls of a provider has changed."""

    _estimates: PromptEstimates
    _batcher: ReservationBatcher
    _clock: Clock
    _limits: Callable[[str], ProviderLimits]
    _health: ProviderHealth
    _found: Callable[[str, float], None]
    times: dict[tuple[str, str], AnswerTimes] = field(
        default_factory=lambda: defaultdict(AnswerTimes), init=False
    )
    _rates: dict[str, OutputRates] = field(default_factory=lambda: defaultdict(OutputRates), init=False)

    def plan(self, call: Reservation) -> None:
        """Set the longest and the expected answer of the next request."""
        limits = self._limits(call.provider)
        most = call.longest or max(OUTPUT, 2 * self._estimates.lengths(call.rule).longest)
        if limits.output_tokens is not None:
            most = min(most, int(limits.output_tokens.count))
        if limits.tokens is not None:
            most = min(most, int(limits.tokens.count) - call.want.tokens_in)
        call.most = most
        call.forecast = self._forecast(call, 0) if counts_output(limits) else None

    def sent(self, call: Reservation) -> None:
        """The last byte of the request was written."""
        if call.request.sent_at is None:
            call.request.sent_at = self._clock.now()
            self._report(call, 0)

    def answered(self, call: Reservation) -> None:
        """The answer has begun, so the server has counted the request."""
        if call.request.answered_at is None:
            call.request.answered_at = self._clock.now()
            self._report(call)

    def grew(self, call: Reservation, characters: int) -> int:
        """The answer has this many characters. Returns the length at which to report again: at the first text, as
        soon as it is known whether it is streamed, and in steps where a limit or a second call depends on it."""
        request = call.request
        if not characters:
            return 1
        begins = request.first_text_at is None
        request.add_text(self._clock.now(), characters)
        counts = counts_output(self._limits(call.provider))
        if not counts and not call.rule.agent.hedge:
            return maxsize if is_streamed(request) else int(request.first_characters / STREAMED) + 1
        per_token = self._estimates.lengths(call.rule).per_token
        tokens = int(characters / per_token)
        if counts and not (begins and tokens < STEP):
            self._report(call, tokens)
        return int((tokens + max(STEP, int(tokens * SHARE))) * per_token) + 1

    def refused(self, call: Reservation) -> None:
        """The server refused the request, because it has too many."""
        call.request.refused = True

    def late_at(self, call: Reservation, share: float) -> float | None:
        """When the first request of a call is late, if nothing more of its answer comes until then: later than
        this share of the others. None: never."""
        if call.earlier or call.settled:
            return None  # a second call would repeat the calls of tools
        times = self.times[_kind(call)]
        per_token = self._estimates.lengths(call.rule).per_token
        return times.late_at(call.request, call.began, per_token, share)

    def next_request(self, call: Reservation, used: Amounts | None) -> None:
        """Another request of the same attempt follows; the last one `used` this, None where that is not known."""
        if call.settled:
            return
        call.request.end(self._clock.now(), answered=True)
        self._learn(call, used)
        self._measure(call, used, self._clock.now())
        call.earlier.append(used or self._upper_bound(call))
        self._batcher.settle(call, call.earlier[-1])
        call.request = RequestProgress()
        call.settled = True

    def unused(self, call: Reservation) -> None:
        """The model was not called at all."""
        self._batcher.settle(call, Amounts(0, 0, 0))

    def ended(self, call: Reservation, usage: Usage | None, fault: Fault | None) -> None:
        """The attempt has ended, and used this in all."""
        kind = "" if fault is None else fault.kind
        used, now = self.last(call, usage), self._clock.now()
        call.request.end(now, answered=kind not in UNANSWERED)
        if fault is None:
            self._measure(call, used, now)
        elif call.request.refused or kind == "rate_limit":
            began = call.request.sent_at or call.began
            if self._health.record_refusal(call.provider, now, began):
                self._found(call.provider, now)
        if used is not None and (fault is None or used.tokens_out):
            self._learn(call, used)
            amounts = used
        elif call.request.answered_at is not None or fault is None or kind in ("timeout", "cancelled"):
            amounts = self._upper_bound(call)  # the answer broke off, or its usage is not known
        else:
            amounts = Amounts(0 if call.request.sent_at is None else 1, 0, 0)
        if not call.settled:
            self._batcher.settle(call, amounts)
        if call.number is not None:
            requests = [] if used is None or fault is not None else [*call.earlier, used]
            each = Usage(requests[-1].tokens_in, max(one.tokens_out for one in requests)) if requests else None
            self._estimates.ended(call.rule, call.number, each, call.estimate.length)

    def last(self, call: Reservation, usage: Usage | None) -> Amounts | None:
        """What the last request used, where the attempt used this in all."""
        if usage is None or usage.tokens_in is None or usage.tokens_out is None:
            return None
        earlier_in = sum(one.tokens_in for one in call.earlier)
        earlier_out = sum(one.tokens_out for one in call.earlier)
        return Amounts(1, max(0, usage.tokens_in - earlier_in), max(0, usage.tokens_out - earlier_out))

    def _upper_bound(self, call: Reservation) -> Amounts:
        """What counts for a request whose usage is not known: the most that it can have used until now."""
        now, forecast = self._clock.now(), call.forecast
        most = call.most if forecast is None else int(forecast.by(now, call.most))
        return Amounts(1, call.want.tokens_in, most)

    def _learn(self, call: Reservation, used: Amounts | None) -> None:
        if used is None or not used.tokens_out:
            return
        now, tokens, request = self._clock.now(), used.tokens_out, call.request
        if counts_output(self._limits(call.provider)):
            self._estimates.lengths(call.rule).measure(tokens, request.characters)
        since = request.first_text_at if is_streamed(request) else request.sent_at
        if since is not None:
            self._rates[call.model].add(tokens, now - since)

    def _measure(self, call: Reservation, used: Amounts | None, now: float) -> None:
        """Record how fast a request was answered."""
        speed = answer_speed(call.request, 0 if used is None else used.tokens_out, now)
        if speed is None:
            return
        if call.rule.agent.hedge:
            self.times[_kind(call)].add(speed)
        if used is not None:
            self._health.record_use(call.provider, used)
        if self._health.record_speed(call.provider, now, speed, _kind(call)):
            self._found(call.provider, now)

    def _report(self, call: Reservation, tokens: int | None = None) -> None:
        """Write the progress to the store, where a limit depends on it. `tokens` is the length of the answer,
        where that is new."""
        limits = self._limits(call.provider) if call.provider else None
        if limits is None or not longest(limits):
            return
        if tokens is not None and counts_output(limits):
            if tokens > call.most:
                call.most = 2 * tokens  # when output exceeds the reservation, double it; the stream is not cut
            call.forecast = self._forecast(call, tokens)
        self._batcher.update(call)

    def _forecast(self, call: Reservation, tokens: int) -> OutputForecast:
        likely, spread = self._estimates.lengths(call.rule).expect(tokens, call.most)
        rate = self._rates[call.model].most if call.model in self._rates else inf
        return OutputForecast(tokens, self._clock.now(), likely, spread, rate)


def _kind(call: Reservation) -> tuple[str, str]:
    """Calls of the same model and agent have prompts and answers that are alike."""
    return call.model, call.rule.name
