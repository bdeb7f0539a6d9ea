"""What a run or a task may use, and what happens as it runs out.

Of a call under way two amounts are known. *Held* is the most that it can come to (its prompt, and `max_output`
tokens of answer): no call begins that could exceed the budget together with all others, so held money only makes
new calls wait. *Likely* is what such calls usually come to: rungs that cannot be undone look at what is used plus
what is likely. Sixty-four calls that hold the whole budget, and use two per cent of it, change nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from agentdeck.workflow.model import Budget

#: Rungs that make work cheaper or less; the others end it, and decide whether an attempt may begin at all.
EASING = ("reduce", "downgrade", "drop")
#: Rounding errors of sums of floats.
NOISE = 1e-9


class Hold(NamedTuple):
    """What is reserved of a budget for an attempt under way: the most it can come to, and what it likely does.
    `likely_in` and `likely_out` are tokens; likely amounts of 0 are not known, and taken as the most."""

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
    """One budget and its use. `rungs` are those in force: once reached, a rung holds until more is granted.

    Invariant: where a rung ends the work, used plus held exceeds its share of the budget at most by one attempt
    that began while nothing else was under way; and used exceeds it by what attempts used beyond their holds.
    """

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
        """The larger share used or likely to be used, of money and tokens, with one more attempt if given; 0
        where nothing is bounded."""
        tokens, usd = hold.likely
        return max(
            _share(self.used_usd + self.likely_usd + usd, self.usd),
            _share(self.used_tokens + self.likely_tokens + tokens, self.tokens),
        )

    def due(self) -> list[str]:
        """Easing rungs that are reached and not in force yet."""
        share = self.share()
        return [r for at, r in self.ladder if r in EASING and r not in self.rungs and share >= at - NOISE]

    @property
    def end(self) -> tuple[float, str] | None:
        """The share at which no more is let go, and what happens then: ask or stop."""
        return next(((share, rung) for share, rung in self.ladder if rung not in EASING), None)

    def left(self, held: Hold = NO_HOLD) -> tuple[float, float]:
        """Tokens and dollars that no attempt has used, up to the rung that ends the work; infinite where nothing
        bounds them. `held` is what one attempt has used so far."""
        if self.end is None:
            return float("inf"), float("inf")
        share = self.end[0]
        tokens = float("inf") if self.tokens is None else share * self.tokens - self.used_tokens - held.tokens
        usd = float("inf") if self.usd is None else share * self.usd - self.used_usd - held.usd
        return tokens, usd

    def admits(self, hold: Hold, own: Hold = NO_HOLD) -> bool:
        """Whether an attempt may begin that comes to no more than this. `own` is what is held for it already. The
        last one before the end, with nothing else under way, may begin if it likely fits."""
        if self.end is None:
            return True
        share = self.end[0] + NOISE
        usd, tokens = self.held_usd - own.usd + hold.usd, self.held_tokens - own.tokens + hold.tokens
        fits = self.usd is None or self.used_usd + usd <= share * self.usd
        fits = fits and (self.tokens is None or self.used_tokens + tokens <= share * self.tokens)
        return fits or (self.idle(own) and self._likely_fits(hold, own))

    def idle(self, own: Hold = NO_HOLD) -> bool:
        """Nothing is held that might come back, but for `own`."""
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
        """An attempt ended: what was held for it is free, what it used is not."""
        self.release(hold)
        self.used_tokens += used[0]
        self.used_usd += used[1]

    def grant(self, name: str, value: float | None) -> None:
        """A new bound (`usd` or `tokens`). Rungs that are no longer reached are left."""
        if name == "usd":
            self.usd = value
        else:
            self.tokens = None if value is None else int(value)
        share = self.share()
        self.rungs = [rung for at, rung in self.ladder if rung in self.rungs and share >= at - NOISE]

    def told(self) -> str:
        """How it stands, for people."""
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

    def _likely_fits(self, hold: Hold, own: Hold) -> bool:
        assert self.end is not None
        tokens, usd = hold.likely
        before = own.likely
        share = self.end[0] + NOISE
        fits = self.usd is None or self.used_usd + self.likely_usd - before[1] + usd <= share * self.usd
        return fits and (
            self.tokens is None
            or self.used_tokens + self.likely_tokens - before[0] + tokens <= share * self.tokens
        )

    def _add(self, hold: Hold, sign: int) -> None:
        tokens, usd = hold.likely
        self.held_tokens += sign * hold.tokens
        self.held_usd += sign * hold.usd
        self.likely_tokens += sign * tokens
        self.likely_usd += sign * usd


def dollars(value: float) -> str:
    """Small amounts in hundredths of a cent."""
    return f"${value:.2f}" if value >= 0.1 or not value else f"${value:.4f}"


def _likely(held: float, likely: str) -> str:
    return f", of which {likely} likely" if held else ""


def _share(part: float, whole: float | None) -> float:
    if whole is None:
        return 0.0
    return part / whole if whole > 0 else float("inf")
