"""Pages of text: on a workflow before it runs, on a launch, and on a run before it is opened."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from agentdeck.console.library import WorkflowEntry
from agentdeck.console.state_style import GLYPHS, RoleStyles
from agentdeck.errors import Issue
from agentdeck.insight.formatting import clock, dollars, moment, seconds
from agentdeck.insight.plan import Plan, plan
from agentdeck.store.reader import LogLine
from agentdeck.store.run_list import RunRow
from agentdeck.terminal_text import clean
from agentdeck.workflow.model import Definition, Input

if TYPE_CHECKING:
    from agentdeck.insight.launch_forecast import LaunchForecast

#: verb: what its target is called.
DOES = (
    ("command", "runs"), ("python", "calls"), ("http", "asks"), ("prompt", "prompts"), ("workflow", "uses"),
    ("approve", "a person"),
)  # fmt: skip


def workflow(
    entry: WorkflowEntry,
    styles: RoleStyles,
    width: int,
    seen: Mapping[str, float],
    before: Sequence[RunRow] = (),
    *,
    drawn: bool = False,
) -> Text:
    """A page on a workflow file. `seen` are durations by agent from earlier runs, `before` these runs. `drawn`:
    its graph is shown beside the page, and needs no words."""
    text = Text(no_wrap=False)
    text.append(clean(entry.name), styles["title"])
    text.append(f"  {clean(entry.path.name)}\n", styles["dim"])
    definition = entry.definition
    if definition is not None and definition.about:
        text.append(clean(definition.about) + "\n", styles["text"])
    _issues(text, entry.issues, styles)
    if definition is None:
        return text
    made = plan(definition, definition.limits.workers, seconds=seen)
    if not drawn:
        from agentdeck.console.graph.scene import draw_text

        for line in draw_text(definition, width):
            text.append("\n" + line, styles["text"])
        text.append("\n")
    if definition.inputs:
        text.append("\nInputs\n", styles["title"])
        longest = max(map(len, definition.inputs))
        for name, given in definition.inputs.items():
            text.append(f"  {clean(name):<{min(longest, 20)}} ", styles["text"])
            text.append(f"{given.type.kind:<8}", styles["dim"])
            text.append(_default(given), styles["warn" if given.required else "dim"])
            text.append(("  " + clean(given.about) if given.about else "") + "\n", styles["dim"])
    text.append("\nWhat it does\n", styles["title"])
    _does(text, made, definition, styles)
    text.append("\nOne task\n", styles["title"])
    text.append(f"  at least {seconds(made.lower_bound)}", styles["text"])
    text.append(f", one step after another {seconds(made.sequential)}\n", styles["dim"])
    text.append("  critical  ", styles["dim"])
    text.append(clean(" → ".join(made.critical_path)) + "\n", styles["critical"])
    if before:
        text.append("\nEarlier runs\n", styles["title"])
    for row in before:
        text.append(f"  {GLYPHS.get(row.state, ' ')} {row.state:<12}", styles[row.state])
        took = seconds(row.seconds) if row.seconds is not None else "-"
        text.append(f"{took:>8}  {row.tasks.done:>7,} tasks", styles["text"])
        text.append(f", {row.tasks.failed:,} failed" if row.tasks.failed else "", styles["failed"])
        text.append(f"  {moment(row.started)}  {row.run}\n", styles["dim"])
    return text


def _issues(text: Text, issues: tuple[Issue, ...], styles: RoleStyles) -> None:
    for issue in issues:
        role, glyph = ("warn", "!") if issue.warning else ("bad", GLYPHS["failed"])
        text.append(f"\n{glyph} ", styles[role])
        if issue.line:
            text.append(f"line {issue.line}: ", styles[role])
        text.append(clean(issue.what), styles["text"])
        text.append(f"; {clean(issue.fix)}" if issue.fix else "", styles["dim"])
    if issues:
        text.append("\n")


def _default(given: Input) -> str:
    if given.required:
        return "needed"
    value = clean(json.dumps(given.default, ensure_ascii=False))
    return value if len(value) <= 30 else value[:29] + "…"


def _does(text: Text, made: Plan, definition: Definition, styles: RoleStyles) -> None:
    simulated = len(made.named("simulate")) and [d.agent for d in made.deeds if d.verb == "simulate"]
    if simulated:
        text.append(f"  simulates  {len(simulated)} of {len(definition.agents)} agents\n", styles["text"])
    for verb, word in DOES:
        named = made.named(verb)
        for index, one in enumerate(named[:6]):
            text.append(f"  {word if not index else '':<10} ", styles["dim"])
            told = clean(one)
            text.append((told if len(told) <= 90 else told[:89] + "…") + "\n", styles["text"])
        if len(named) > 6:
            text.append(f"  {'':<10} … {len(named) - 6} more\n", styles["dim"])


def total_of(row: RunRow) -> int:
    """How many tasks a run has in all: what its tasks file said, else those that came so far."""
    told = row.source.get("total")
    return max(1, row.tasks.total, told if isinstance(told, int) else 0)


def run(row: RunRow, styles: RoleStyles, width: int, lines: Iterable[LogLine] = (), reading: str = "") -> Text:
    """A page on a run; `lines` are the last of its log. `reading` says how far its graph is read."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(clean(row.workflow), styles["title"])
    text.append(f"  {row.run}\n\n", styles["dim"])
    text.append(f"{GLYPHS.get(row.state, ' ')} {row.state_text}", styles[row.state])
    text.append(" · simulated" if row.simulated else "", styles["dim"])
    text.append("\n\n")
    tasks = row.tasks
    total = total_of(row)
    wide = max(10, min(40, width - 4))
    done, failed = (round(wide * n / total) for n in (tasks.done, tasks.failed))
    text.append("━" * done, styles["done"])
    text.append("━" * failed, styles["failed"])
    text.append("─" * max(0, wide - done - failed) + "\n", styles["line"])
    text.append(f"{tasks.done:,} of {total:,} tasks done", styles["text"])
    text.append(f", {tasks.failed:,} failed" if tasks.failed else "", styles["failed"])
    text.append("\n\n")
    facts = [("paused", row.pause_reason)] if row.state == "paused" and row.pause_reason else []
    facts += [("started", moment(row.started)), ("took" if row.ended else "runs for", seconds(row.seconds))]
    if row.idle >= 1:
        facts.append(("idle", f"{seconds(row.idle)} in which no process ran it"))
    if row.state in ("running", "paused"):
        facts.append(("held by", f"process {row.pid} on {row.host}"))
    if row.source.get("file"):
        facts.append(("file", near(str(row.source["file"]))))
    if row.source.get("tasks"):
        facts.append(("tasks", near(str(row.source["tasks"]))))
    for name, value in facts:
        text.append(f"{name:<9} ", styles["dim"])
        text.append(clean(value) + "\n", styles["text"])
    if reading:
        text.append(f"{'graph':<9} ", styles["dim"])
        text.append(reading + "\n", styles["warn"])
    if row.state == "interrupted":
        text.append("\nNobody runs it any more. Open it and press R to go on where it was.\n", styles["warn"])
    lines = list(lines)
    if lines:
        text.append("\nLatest\n", styles["title"])
    for line in lines:
        text.append(f"{clock(line.at)}  ", styles["dim"])
        text.append(clean(f"{line.step} {line.task}  "), styles["title"])
        text.append(clean(line.text) + "\n", styles["text"])
    return text


def near(path: str) -> str:
    """A path as it is seen from here, where that is shorter."""
    for folder, short in ((Path.cwd(), ""), (Path.home(), "~/")):
        if path.startswith(f"{folder}/"):
            return short + path[len(str(folder)) + 1 :]
    return path


def launch(seen: LaunchForecast, styles: RoleStyles) -> Text:
    """What a launch would be like: what to expect first, then why, then what will be executed."""
    made, text = seen.plan, Text()

    def line(label: str, value: str, role: str = "text", note: str = "") -> None:
        text.append(f"{label:<12}", styles["dim"])
        text.append(value, styles[role])
        text.append(f"  {note}\n" if note else "\n", styles["dim"])

    # How many items an `each` gives is known in a run at the earliest: without it there is only a least.
    least = "at least " if made.uncounted else ""
    line("expected", least + seconds(seen.seconds), "title", f"{made.tasks:,} task{'s' * (made.tasks > 1)}")
    line("at best", seconds(made.lower_bound), note="no schedule is faster")
    line("one by one", "not known" if made.uncounted else seconds(made.sequential), "dim")
    if made.uncounted:
        line("items", "not known", "warn", clean(f"of {', '.join(made.uncounted[:6])}: counted in the run"))
    if made.tasks > 1:
        line("first task", seconds(seen.first))
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
    text.append("\ncritical path\n", styles["title"])
    text.append(clean(" → ".join(made.critical_path)) + "\n", styles["critical"])
    text.append("\nlevels\n", styles["title"])
    for number, level in enumerate(made.levels, 1):
        names = ", ".join(level[:8]) + (f" and {len(level) - 8} more" if len(level) > 8 else "")
        text.append(f"{number:>2}  ", styles["dim"])
        text.append(clean(names) + "\n", styles["text"])
    text.append("\nwill be executed\n", styles["title"])
    for verb in ("command", "python", "http", "prompt", "workflow", "approve", "simulate"):
        targets = [t or "nothing real" for t in made.named(verb)]
        if targets:
            shown = ", ".join(targets[:5]) + (f" and {len(targets) - 5} more" if len(targets) > 5 else "")
            text.append(f"{verb:<9} ", styles["dim"])
            text.append(clean(shown) + "\n", styles["text"])
    return text
