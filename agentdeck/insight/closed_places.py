"""The places of a run that are out of reach, in words."""

from __future__ import annotations

import time
from collections.abc import Iterator

from agentdeck.insight.formatting import format_span
from agentdeck.views.run_view import RunView


def out_of_reach(view: RunView, name: str, now: float) -> str:
    """`the place big is out of reach since 02:14 (3m20s): its scheduler does not answer`; empty where it is not.
    `now` is not the time of the last event: while a place is out of reach, there may be none."""
    place = view.closed_places.get(name)
    if place is None:
        return ""
    since = time.strftime("%H:%M", time.localtime(place.since))
    lasted = format_span(max(0.0, now - place.since))
    return f"the place {name} is out of reach since {since} ({lasted}): {place.why}"


def closed_places(view: RunView, now: float) -> Iterator[str]:
    """A sentence for each place that is out of reach."""
    for name in view.closed_places:
        yield out_of_reach(view, name, now)
