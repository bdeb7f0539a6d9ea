"""How fast a provider answered one request: the time until the first text, and the time per output token.

The total time says little about congestion: a long answer takes long at a provider that is idle. So the time
until the first text and the time per token of the rest are looked at. An answer that came as a whole has only its
total time, which is divided by its tokens. Where these are few or not known, the total time is all there is."""

from __future__ import annotations

from typing import NamedTuple

from agentdeck.limits.reservations import RequestProgress

#: An answer of fewer tokens says little about the speed.
LONG = 20
#: An answer of which a larger share came in its first piece was not streamed from its beginning.
STREAMED = 0.2


class AnswerSpeed(NamedTuple):
    """Seconds of a request in all; until the first text of its answer, None where it came as a whole; and per
    output token, after the first text where there was one, None where the tokens are too few or not known."""

    seconds: float
    first: float | None = None
    each: float | None = None


def is_streamed(request: RequestProgress) -> bool:
    """Whether the answer came piece by piece."""
    return request.first_text_at is not None and request.first_characters <= STREAMED * request.characters


def answer_speed(request: RequestProgress, tokens: int, now: float) -> AnswerSpeed | None:
    """The speed of a request that has ended now, with so many output tokens (0: not known). None for one that was
    not sent."""
    if request.sent_at is None:
        return None
    first = request.first_text_at if is_streamed(request) else None
    since = request.sent_at if first is None else first
    each = (now - since) / tokens if tokens >= LONG else None
    return AnswerSpeed(now - request.sent_at, None if first is None else first - request.sent_at, each)
