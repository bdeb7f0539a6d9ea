"""What is reserved for one attempt's calls of a model, and the request under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentdeck.limits.budget import NO_HOLD, Hold
from agentdeck.limits.output_reservation import OutputForecast
from agentdeck.limits.reservations import Amounts, RequestProgress
from agentdeck.limits.token_estimates import PromptEstimate
from agentdeck.scheduler.program import Rule


@dataclass(slots=True, eq=False)
class Reservation:
    """Valid until the attempt ends.

    `attempt` is task, step and number; `tier_shift` by how many tiers the model is above the agent's own. `want`
    is the estimate as far as it fits the limits. `rows` are its rows in the store, one per request; `has_place`:
    the last one counts as a concurrent call. `number` is the attempt's number in the agent's history, `epoch`
    the epoch of the provider's breaker when it began. `hold` is held of the budgets; `prompt_bytes` is the size
    of the prompt, `reduced`: its answer is to be short, `requests` counts the requests up to the next one,
    `cut_at` is where the answer of the attempt before was cut.

    `asked` is the longest answer that the prompt asks for, `longest` the one that it may get, if that is limited.
    Of the request under way: `most` is the longest answer that it may get, `forecast` the expected one.
    `settled`: its use is in the store, and no other request has begun. `earlier` is what the requests before it
    used."""

    rule: Rule
    attempt: tuple[str, str, int]
    tier_shift: int
    model: str
    provider: str
    max_output: int | None
    estimate: PromptEstimate
    want: Amounts
    rows: list[int] = field(default_factory=list)
    has_place: bool = False
    began: float = 0.0
    number: int | None = None
    epoch: int = 0
    reduced: bool = False
    hold: Hold = NO_HOLD
    prompt_bytes: int = 0
    cut_at: int = 0
    requests: int = 1
    asked: int | None = None
    longest: int | None = None
    most: int = 0
    forecast: OutputForecast | None = None
    settled: bool = False
    request: RequestProgress = field(default_factory=RequestProgress)
    earlier: list[Amounts] = field(default_factory=list)

    @property
    def task(self) -> str:
        return self.attempt[0]

    @property
    def step(self) -> tuple[str, str]:
        """Task and step."""
        return self.attempt[:2]

    def add_row(self, number: int) -> None:
        """The store has given the next request a place, in this row."""
        self.rows.append(number)
        self.has_place = True
