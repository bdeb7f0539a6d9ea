"""What a launch would be like, as text: what to expect first, then why, then what will be executed."""

from __future__ import annotations

from rich.text import Text

from agentdeck.console.state_style import Look
from agentdeck.insight.formatting import dollars
from agentdeck.insight.formatting import seconds as spell
from agentdeck.insight.launch_forecast import LaunchForecast
from agentdeck.terminal_text import clean


def describe(seen: LaunchForecast, look: Look) -> Text:
    """The outlook as text: what to expect first, then why, then what will be executed."""
    made, text = seen.plan, Text()

    def line(label: str, value: str, role: str = "text", note: str = "") -> None:
        text.append(f"{label:<12}", look["dim"])
        text.append(value, look[role])
        text.append(f"  {note}\n" if note else "\n", look["dim"])

    # How many items an `each` gives is known in a run at the earliest: without it there is only a least.
    least = "at least " if made.uncounted else ""
    line("expected", least + spell(seen.seconds), "title", f"{made.tasks:,} task{'s' * (made.tasks > 1)}")
    line("at best", spell(made.lower_bound), note="no schedule is faster")
    line("one by one", "not known" if made.uncounted else spell(made.sequential), "dim")
    if made.uncounted:
        line("items", "not known", "warn", clean(f"of {', '.join(made.uncounted[:6])}: counted in the run"))
    if made.tasks > 1:
        line("first task", spell(seen.first))
    line("workers", f"{seen.busy:.0%} busy", "warn" if seen.holds == "workers" else "text")
    held = {"workers": "more workers would help", "path": "the critical path, not workers"}
    line("held by", clean(held.get(seen.holds, seen.holds)), "text" if seen.holds in held else "warn")
    if seen.usd is None:
        line("cost", "not known yet", "dim")
    else:
        low, high = (dollars(each) for each in seen.usd)
        line("cost", low if low == high else f"{low} to {high}")
    if made.assumed:
        line("assumed", "1 s each", "warn", clean(", ".join(made.assumed[:6]) + "…" * (len(made.assumed) > 6)))
    text.append("\ncritical path\n", look["title"])
    text.append(clean(" → ".join(made.critical_path)) + "\n", look["critical"])
    text.append("\nlevels\n", look["title"])
    for number, level in enumerate(made.levels, 1):
        names = ", ".join(level[:8]) + (f" and {len(level) - 8} more" if len(level) > 8 else "")
        text.append(f"{number:>2}  ", look["dim"])
        text.append(clean(names) + "\n", look["text"])
    text.append("\nwill be executed\n", look["title"])
    for verb in ("command", "python", "http", "prompt", "workflow", "approve", "simulate"):
        targets = [t or "nothing real" for t in made.named(verb)]
        if targets:
            shown = ", ".join(targets[:5]) + (f" and {len(targets) - 5} more" if len(targets) > 5 else "")
            text.append(f"{verb:<9} ", look["dim"])
            text.append(clean(shown) + "\n", look["text"])
    return text
