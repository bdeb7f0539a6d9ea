"""The budget of a run or a task, what its calls hold of it, and the rungs of its ladder.

A call under way counts with two amounts. *Held* is the most that it can use (its prompt, and `max_output` tokens
of answer): no call begins that could exceed the budget together with all others, so held money only delays new
calls. *Likely* is what such calls usually use: rungs that cannot be undone consider what is used plus what is
likely. Sixty-four calls that hold the whole budget, and use two per cent of it, change nothing."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from agentdeck.limits.token_estimates import BYTES_PER_TOKEN
from agentdeck.workflow.model import Budget

#: Rungs that make work cheaper or less. The others end it, and decide whether an attempt may begin at all.
EASING = ("reduce", "downgrade", "drop")
#: Rounding errors of sums of floats.
NOISE = 1e-9
#: The length of an answer until one was recorded, and the largest share of `max_output` that it takes then.
TYPICAL_OUTPUT, TYPICAL_SHARE = 256, 0.5
#: The most tokens per byte of a prompt: English has a quarter, digits and other scripts up to this. A measured
#: ratio is multiplied by MARGIN.
DENSE, MARGIN = 0.5, 1.25
#: The number of an agent's last attempts that predict its next one.
REMEMBERED = 50
MILLION = 1_000_000


class Hold(NamedTuple):
    """What is reserved of a budget for an attempt under way: the most that it can use, and what it likely uses.
    `likely_in` and `likely_out` are tokens; likely amounts of 0 are not known, and count as the most."""

    tokens: int = 0
    usd: float = 0.0
    likely_in: int = 0
    likely_out: int = 0
    likely_usd: float = 0.0

    @property
    def likely(self) -> tuple[int, float]:
        """Tokens and dollars."""
        known = bool(self.likely_in or self.likely_out or self.likely_usd)
        return (self.likely_in + self.likely_out, self.likely_usd) if known else (self.tokens, self.usd)

    def plus(self, other: Hold) -> Hold:
        return Hold(
            self.tokens + other.tokens,
            self.usd + other.usd,
            self.likely_in + other.likely_in,
            self.likely_out + other.likely_out,
            self.likely_usd + other.likely_usd,
        )


NO_HOLD = Hold()


class Ledger:
    """One budget and its use. `rungs` are those in force: once reached, a rung stays in force until more is
    granted.

    Invariant: where a rung ends the work, used plus held exceeds the rung's share of the budget by at most one
    attempt that began while nothing else was under way, and by what attempts used beyond their holds."""

    __slots__ = (
        "held_tokens", "held_usd", "ladder", "likely_tokens", "likely_usd", "rungs", "tokens", "usd",
        "used_tokens", "used_usd",
    )  # fmt: skip

    def __init__(self, budget: Budget) -> None:
        self.usd = budget.usd
        self.tokens = budget.tokens
        self.ladder = tuple(sorted(budget.ladder))
        self.used_usd = self.held_usd = self.likely_usd = 0.0
        self.used_tokens = self.held_tokens = self.likely_tokens = 0
        self.rungs: list[str] = []

    def share(self, hold: Hold = NO_HOLD) -> float:
        """The larger share of money and tokens that is used or likely to be used, with one more attempt if
        given; 0 where nothing is limited."""
        tokens, usd = hold.likely
        return max(
            _share(self.used_usd + self.likely_usd + usd, self.usd),
            _share(self.used_tokens + self.likely_tokens + tokens, self.tokens),
        )

    def due(self) -> list[str]:
        """Rungs that make work cheaper, are reached, and are not in force yet."""
        share = self.share()
        return [r for at, r in self.ladder if r in EASING and r not in self.rungs and share >= at - NOISE]

    @property
    def end(self) -> tuple[float, str] | None:
        """The share at which no more attempts begin, and the rung there: ask or stop."""
        return next(((share, rung) for share, rung in self.ladder if rung not in EASING), None)

    def left(self, held: Hold = NO_HOLD) -> tuple[float, float]:
        """Tokens and dollars that are not used, up to the rung that ends the work; infinite where nothing limits
        them. `held` is what one attempt has used so far."""
        if self.end is None:
            return float("inf"), float("inf")
        share = self.end[0]
        tokens = float("inf") if self.tokens is None else share * self.tokens - self.used_tokens - held.tokens
        usd = float("inf") if self.usd is None else share * self.usd - self.used_usd - held.usd
        return tokens, usd

    def admits(self, hold: Hold, own: Hold = NO_HOLD) -> bool:
        """Whether an attempt that uses at most this may begin. `own` is what is held for it already. With nothing
        else under way, an attempt may begin if it likely fits."""
        if self.end is None:
            return True
        if self._fits(self.held_usd - own.usd + hold.usd, self.held_tokens - own.tokens + hold.tokens):
            return True
        (tokens, usd), (own_tokens, own_usd) = hold.likely, own.likely
        likely_usd, likely_tokens = self.likely_usd - own_usd + usd, self.likely_tokens - own_tokens + tokens
        return self.idle(own) and self._fits(likely_usd, likely_tokens)

    def idle(self, own: Hold = NO_HOLD) -> bool:
        """Whether nothing is held except for `own`."""
        return self.held_tokens <= own.tokens and self.held_usd <= own.usd + NOISE

    def hold(self, hold: Hold) -> None:
        self._add(hold, 1)

    def release(self, hold: Hold) -> None:
        self._add(hold, -1)
        if not self.held_tokens and abs(self.held_usd) < NOISE:
            self.held_usd = 0.0
        if not self.likely_tokens and abs(self.likely_usd) < NOISE:
            self.likely_usd = 0.0

    def settle(self, hold: Hold, used: tuple[int, float]) -> None:
        """An attempt ended: release its hold and count what it used."""
        self.release(hold)
        self.used_tokens += used[0]
        self.used_usd += used[1]

    def grant(self, name: str, value: float | None) -> None:
        """Set the limit of `usd` or `tokens`. Rungs that are no longer reached end."""
        if name == "usd":
            self.usd = value
        else:
            self.tokens = None if value is None else int(value)
        share = self.share()
        self.rungs = [rung for at, rung in self.ladder if rung in self.rungs and share >= at - NOISE]

    def as_text(self) -> str:
        """Used, held and likely amounts as text."""
        parts = []
        if self.usd is not None:
            used, likely, held = map(dollars, (self.used_usd, self.likely_usd, self.held_usd))
            parts.append(f"{used} of {dollars(self.usd)} used, {held} held{_likely(self.held_usd, likely)}")
        if self.tokens is not None:
            likely = f"{self.likely_tokens:,}"
            parts.append(
                f"{self.used_tokens:,} of {self.tokens:,} tokens used, {self.held_tokens:,} held"
                + _likely(self.held_tokens, likely)
            )
        return "; ".join(parts)

    def _fits(self, usd: float, tokens: int) -> bool:
        """Whether there is room for these amounts beside what is used, up to the rung that ends the work."""
        assert self.end is not None
        share = self.end[0] + NOISE
        fits = self.usd is None or self.used_usd + usd <= share * self.usd
        return fits and (self.tokens is None or self.used_tokens + tokens <= share * self.tokens)

    def _add(self, hold: Hold, sign: int) -> None:
        tokens, usd = hold.likely
        self.held_tokens += sign * hold.tokens
        self.held_usd += sign * hold.usd
        self.likely_tokens += sign * tokens
        self.likely_usd += sign * usd


def dollars(value: float) -> str:
    """An amount as text, small ones in hundredths of a cent."""
    return f"${value:.2f}" if value >= 0.1 or not value else f"${value:.4f}"


def _likely(held: float, likely: str) -> str:
    return f", of which {likely} likely" if held else ""


def _share(part: float, whole: float | None) -> float:
    if whole is None:
        return 0.0
    return part / whole if whole > 0 else float("inf")


class AgentCosts:
    """What the last attempts of one agent used, and what to hold for its next request.

    The hold covers the whole request: the prompt, by a count that is too high rather than too low, and an answer
    of the longest length that is asked for, both at the model's price. So all calls under way together cannot
    exceed the budget, except for the last one, which begins where it likely fits."""

    def __init__(self) -> None:
        self._attempts: deque[_AttemptUse] = deque(maxlen=REMEMBERED)

    def add(self, tokens_in: int, tokens_out: int, requests: int, prompt_bytes: int) -> None:
        """Record an attempt. `prompt_bytes` 0 is not known."""
        per_byte = tokens_in / prompt_bytes if requests == 1 and prompt_bytes else 0.0
        self._attempts.append(_AttemptUse(tokens_in, tokens_out, requests, per_byte))

    def likely(self, prompt_tokens: int, most: int) -> tuple[int, int]:
        """The likely tokens of an attempt, its further requests included: of prompts and of answers."""
        if not self._attempts:
            return prompt_tokens, self._likely_answer(most)
        count = len(self._attempts)
        tokens_out = round(sum(one.tokens_out for one in self._attempts) / count)
        return round(sum(one.tokens_in for one in self._attempts) / count), max(1, tokens_out)

    def hold(self, request: HeldRequest, left: tuple[float, float], spent: Spent) -> tuple[Hold, int]:
        """What to hold for one more request and all that its attempt has spent; and the longest answer to ask
        for. `left` is tokens and dollars that the budget still allows beyond what was spent."""
        tokens_in = self._prompt_tokens(request)
        text_tokens = request.prompt_bytes // BYTES_PER_TOKEN + 1
        least = min(request.most, max(self._likely_answer(request.most), 2 * request.cut_at))
        room = min(float(request.most), left[0] - tokens_in)
        price_in, price_out = request.price
        if price_out > 0:
            room = min(room, (left[1] - tokens_in * price_in / MILLION) / price_out * MILLION)
        max_output = max(least, int(room))
        likely_in, likely_out = self.likely(text_tokens, request.most)
        likely_out = max(likely_out, least)
        likely_usd = request.usd(likely_in, likely_out)
        if spent.requests:  # at least what is spent, and one answer
            likely_in = max(likely_in, spent.tokens_in + text_tokens)
            likely_out = max(likely_out, spent.tokens_out + least)
            likely_usd = max(likely_usd, spent.usd + request.usd(text_tokens, least))
        tokens = spent.tokens_in + spent.tokens_out + tokens_in + max_output
        usd = spent.usd + request.usd(tokens_in, max_output)
        return Hold(tokens, usd, likely_in, likely_out, likely_usd), max_output

    def _prompt_tokens(self, request: HeldRequest) -> int:
        """Tokens of a prompt, too many rather than too few."""
        per_byte = max((one.per_byte for one in self._attempts), default=0.0)
        return int(request.prompt_bytes * max(DENSE, MARGIN * per_byte)) + request.other_tokens

    def _likely_answer(self, most: int) -> int:
        """The likely length of one answer."""
        if not self._attempts:
            return int(min(TYPICAL_OUTPUT, TYPICAL_SHARE * most)) or 1
        requests = sum(one.requests for one in self._attempts)
        return max(1, round(sum(one.tokens_out for one in self._attempts) / requests))


class HeldRequest(NamedTuple):
    """A request to hold money for. `most` is the longest answer that it may ask for, `cut_at` where the answer
    before it was cut, `other_tokens` what the prompt has beside its text, `price` dollars per million tokens in
    and out."""

    prompt_bytes: int
    other_tokens: int
    most: int
    cut_at: int
    price: tuple[float, float]

    def usd(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.price[0] + tokens_out * self.price[1]) / MILLION


class Spent(NamedTuple):
    """What an attempt has used so far."""

    requests: bool = False
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0


class _AttemptUse(NamedTuple):
    """What an attempt used. `per_byte` is tokens per byte of its prompt; 0 is not known."""

    tokens_in: int
    tokens_out: int
    requests: int
    per_byte: float
