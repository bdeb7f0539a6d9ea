"""What is reserved for one attempt's calls of a model."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentdeck.core.budget import NO_HOLD, Hold
from agentdeck.core.program import Rule
from agentdeck.core.window import Want
from agentdeck.engine.estimate import Estimate


@dataclass(slots=True, eq=False)
class Grant:
    """It holds until the attempt ends: `want`, which is the estimate as far as it fits. `ids` are its rows in the
    store, and `live` whether the last one has a place; `number` tells which of its agent's attempts it is, and
    `epoch` what its provider's breaker had decided when it began. `hold` is what is held of the budgets for it;
    `size` is the bytes of its prompt, and `reduced` whether its answer is to be short. `requests` counts its
    requests, the next one among them; `cut_at` is where the answer of the attempt before it was cut."""

    rule: Rule
    where: tuple[str, str, int]
    shift: int
    model: str
    provider: str
    max_output: int | None
    estimate: Estimate
    want: Want
    ids: list[int] = field(default_factory=list)
    sent: float = 0.0
    number: int | None = None
    live: bool = False
    epoch: int = 0
    reduced: bool = False
    hold: Hold = NO_HOLD
    size: int = 0
    cut_at: int = 0
    requests: int = 1

    def placed(self, number: int) -> None:
        """The store has given it a place, under this number."""
        self.ids.append(number)
        self.live = True
