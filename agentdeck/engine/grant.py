"""What is reserved for one attempt's calls of a model, and how far the call under way is."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentdeck.engine.prompt_estimate import PromptEstimate
from agentdeck.limits.budget import NO_HOLD, Hold
from agentdeck.limits.output_reservation import OutputForecast
from agentdeck.limits.rate_window import COUNTED, LATEST, RESERVED, SENT, Amounts
from agentdeck.scheduler.program import Rule


@dataclass(slots=True, eq=False)
class Reservation:
    """It holds until the attempt ends: `want`, which is the estimate as far as it fits. `ids` are its rows in the
    store, one per request, and `live` whether the last one has a place; `number` tells which of its agent's
    attempts it is, and `epoch` what its provider's breaker had decided when it began. `hold` is what is held of
    the budgets for it; `size` is the bytes of its prompt, and `reduced` whether its answer is to be short.
    `requests` counts its requests, the next one among them; `cut_at` is where the answer of the attempt before it
    was cut.

    `longest` is the longest answer that the agent may give, if any is set. Of the request under way: `most` is
    the longest answer that it may get; `sent` when its last byte was written, `answered` when its answer began,
    `first_text_at` when so much of it came as `first_text` says; `said` how many characters have come. `at` is
    from when the last request counts, once it has ended. `before` is what the requests before it used."""

    rule: Rule
    where: tuple[str, str, int]
    shift: int
    model: str
    provider: str
    max_output: int | None
    estimate: PromptEstimate
    want: Amounts
    ids: list[int] = field(default_factory=list)
    began: float = 0.0
    number: int | None = None
    live: bool = False
    epoch: int = 0
    reduced: bool = False
    hold: Hold = NO_HOLD
    size: int = 0
    cut_at: int = 0
    requests: int = 1
    longest: int | None = None
    closed: bool = False
    most: int = 0
    forecast: OutputForecast | None = None
    sent: float | None = None
    answered: float | None = None
    first_text_at: float | None = None
    said: int = 0
    first_text: int = 0
    at: float = 0.0
    before: list[Amounts] = field(default_factory=list)

    def placed(self, number: int) -> None:
        """The store has given it a place, under this number."""
        self.ids.append(number)
        self.live = True

    @property
    def stage(self) -> tuple[int, float]:
        """How far its request is, and from when it counts at the latest."""
        if self.answered is not None:
            return COUNTED, self.answered
        return (RESERVED, 0.0) if self.sent is None else (SENT, self.sent + LATEST)

    def end(self, now: float, heard: bool) -> None:
        """Its request has ended; `heard`: the server has answered, so it has counted it. If not, and the request
        is not known to be sent, part of it may have been all of it."""
        if self.answered is not None:
            self.at = self.answered
        elif heard:
            self.at = now
        else:
            self.at = (now if self.sent is None else self.sent) + LATEST

    def restart(self) -> None:
        """One more request begins."""
        self.sent = self.answered = self.first_text_at = None
        self.said = self.first_text = 0
