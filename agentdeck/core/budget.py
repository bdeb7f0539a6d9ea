"""What a run or a task may use, and what happens as it runs out.

Looked at is what was used plus what is held for attempts under way, so that many at once cannot together use
more than was left when each of them began.
"""

from __future__ import annotations

from agentdeck.workflow.model import Budget

#: Rungs that make work cheaper or less; the others end it, and decide whether an attempt may begin at all.
EASING = ("reduce", "downgrade", "drop")


class Ledger:
    """One budget and its use. `rungs` are those in force: once reached, a rung holds until more is granted.

    Invariant: where a rung ends the work, used plus held never exceeds its share of the budget by an attempt
    that was let go here; it may by what an attempt used beyond what was held for it.
    """

    __slots__ = ("held_tokens", "held_usd", "ladder", "rungs", "tokens", "usd", "used_tokens", "used_usd")

    def __init__(self, budget: Budget) -> None:
        self.usd = budget.usd
        self.tokens = budget.tokens
        self.ladder = tuple(sorted(budget.ladder))
        self.used_usd = self.held_usd = 0.0
        self.used_tokens = self.held_tokens = 0
        self.rungs: list[str] = []

    def share(self) -> float:
        """The larger share used or held, of money and tokens; 0 where nothing is bounded."""
        return max(
            _share(self.used_usd + self.held_usd, self.usd),
            _share(self.used_tokens + self.held_tokens, self.tokens),
        )

    def due(self) -> list[str]:
        """Easing rungs that are reached and not in force yet."""
        share = self.share()
        return [r for at, r in self.ladder if r in EASING and r not in self.rungs and share >= at - 1e-9]

    @property
    def end(self) -> tuple[float, str] | None:
        """The share at which no more is let go, and what happens then: ask or stop."""
        return next(((share, rung) for share, rung in self.ladder if rung not in EASING), None)

    def admits(self, tokens: int, usd: float) -> bool:
        """Whether an attempt for which so much is held may begin."""
        if self.end is None:
            return True
        share = self.end[0] + 1e-9
        fits = self.usd is None or self.used_usd + self.held_usd + usd <= share * self.usd
        return fits and (
            self.tokens is None or self.used_tokens + self.held_tokens + tokens <= share * self.tokens
        )

    @property
    def idle(self) -> bool:
        """Nothing is held that might come back."""
        return self.held_tokens <= 0 and self.held_usd <= 1e-12

    def hold(self, tokens: int, usd: float) -> None:
        self.held_tokens += tokens
        self.held_usd += usd

    def settle(self, held: tuple[int, float], used: tuple[int, float]) -> None:
        """An attempt ended: what was held for it is free, what it used is not."""
        self.held_tokens -= held[0]
        self.held_usd -= held[1]
        if not self.held_tokens and abs(self.held_usd) < 1e-9:
            self.held_usd = 0.0
        self.used_tokens += used[0]
        self.used_usd += used[1]

    def grant(self, name: str, value: float | None) -> None:
        """A new bound (`usd` or `tokens`). Rungs that are no longer reached are left."""
        if name == "usd":
            self.usd = value
        else:
            self.tokens = None if value is None else int(value)
        share = self.share()
        self.rungs = [rung for at, rung in self.ladder if rung in self.rungs and share >= at - 1e-9]

    def told(self) -> str:
        """How it stands, for people."""
        parts = []
        if self.usd is not None:
            used, held = dollars(self.used_usd), dollars(self.held_usd)
            parts.append(f"{used} of {dollars(self.usd)} used, {held} held")
        if self.tokens is not None:
            parts.append(f"{self.used_tokens:,} of {self.tokens:,} tokens used, {self.held_tokens:,} held")
        return "; ".join(parts)


def dollars(value: float) -> str:
    """Small amounts in hundredths of a cent."""
    return f"${value:.2f}" if value >= 0.1 or not value else f"${value:.4f}"


def _share(part: float, whole: float | None) -> float:
    if whole is None:
        return 0.0
    return part / whole if whole > 0 else float("inf")
