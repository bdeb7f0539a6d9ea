"""What a launch would be like at these limits, before it is made: how long, how much, and what holds it up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agentdeck.insight.forecast import forecast, without_items
from agentdeck.insight.plan import Plan, plan
from agentdeck.insight.prompt_forecast import Prompting
from agentdeck.workflow.model import SLOTLESS, Definition

#: So many tasks are played; what more there are is as the average of the later ones.
PLAYED = 300


@dataclass(frozen=True, slots=True)
class LaunchForecast:
    """`seconds` is what is to be expected, at least where the plan has agents with items not counted; `first` is
    when the first task ends; the plan has the bound. `busy` is the share of the workers' time that is work. `usd`
    is the least and the most that it would cost, None where that is not known. `holds` says what the run waits
    for: `path`, `workers`, or a provider's limit by its name."""

    plan: Plan
    seconds: float
    first: float
    busy: float
    holds: str
    usd: tuple[float, float] | None = None


def forecast_launch(
    definition: Definition,
    workers: int,
    tasks: int = 1,
    seconds: Mapping[str, float] | None = None,
    asks: Prompting | None = None,
) -> LaunchForecast:
    """Play the launch on a virtual clock. `seconds` are durations by agent as seen before, `asks` what its
    prompts would use."""
    asks = asks or Prompting()
    made = plan(definition, workers, tasks, seconds, asks.items)
    counted = {deed.agent: deed.items or 1.0 for deed in made.deeds if deed.many}
    known = {deed.agent: deed.seconds for deed in made.deeds}
    definition, known = without_items(definition, known, counted, workers)
    played = forecast(definition, workers, min(tasks, PLAYED), known)
    each = sum(d.seconds * (d.items or 1) for d in made.deeds if not d.spare and d.verb not in SLOTLESS)
    length, work = played.seconds, each * tasks
    if tasks > PLAYED:
        half = forecast(definition, workers, PLAYED // 2, known).seconds
        slope = (played.seconds - half) / (PLAYED - PLAYED // 2)
        length += (tasks - PLAYED) * max(slope, each / workers)
    length = max(length, made.lower_bound)  # which counts every agent, where `when` skips some of them here
    busy = min(1.0, work / (length * workers)) if length > 0 else 0.0
    holds = "workers" if busy > 0.9 and tasks > 1 else "path"
    if asks.seconds > length:
        busy, length, holds = busy * length / asks.seconds, asks.seconds, asks.limit
    return LaunchForecast(made, length, played.first, busy, holds, asks.usd)
