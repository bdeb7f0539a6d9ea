"""Pages of text: on a workflow before it runs, on a launch, and on a run before it is opened."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from agentdeck.console.library import WorkflowEntry
from agentdeck.console.line_widget import Piece
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


class _Page:
    """A text of pieces, each in the style of its role; one without a role is as it is."""

    def __init__(self, styles: RoleStyles, text: Text) -> None:
        self.styles, self.text = styles, text

    def add(self, *pieces: Piece) -> None:
        for part, role in pieces:
            self.text.append(part, self.styles[role] if role else None)


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
    page = _Page(styles, Text(no_wrap=False))
    page.add((clean(entry.name), "title"), (f"  {clean(entry.path.name)}\n", "dim"))
    definition = entry.definition
    if definition is not None and definition.about:
        page.add((clean(definition.about) + "\n", "text"))
    _issues(page, entry.issues)
    if definition is None:
        return page.text
    made = plan(definition, definition.limits.workers, seconds=seen)
    if not drawn:
        from agentdeck.console.graph.scene import draw_text

        page.add(*(("\n" + line, "text") for line in draw_text(definition, width)), ("\n", ""))
    if definition.inputs:
        page.add(("\nInputs\n", "title"))
        longest = max(map(len, definition.inputs))
        for name, given in definition.inputs.items():
            page.add((f"  {clean(name):<{min(longest, 20)}} ", "text"), (f"{given.type.kind:<8}", "dim"))
            page.add((_default(given), "warn" if given.required else "dim"))
            page.add((("  " + clean(given.about) if given.about else "") + "\n", "dim"))
    page.add(("\nWhat it does\n", "title"))
    _does(page, made, definition)
    page.add(("\nOne task\n", "title"), (f"  at least {seconds(made.lower_bound)}", "text"))
    page.add((f", one step after another {seconds(made.sequential)}\n  critical  ", "dim"))
    page.add((clean(" → ".join(made.critical_path)) + "\n", "critical"))
    if before:
        page.add(("\nEarlier runs\n", "title"))
    for row in before:
        took = seconds(row.seconds) if row.seconds is not None else "-"
        page.add((f"  {GLYPHS.get(row.state, ' ')} {row.state:<12}", row.state))
        page.add((f"{took:>8}  {row.tasks.done:>7,} tasks", "text"))
        page.add((f", {row.tasks.failed:,} failed" if row.tasks.failed else "", "failed"))
        page.add((f"  {moment(row.started)}  {row.run}\n", "dim"))
    return page.text


def _issues(page: _Page, issues: tuple[Issue, ...]) -> None:
    for issue in issues:
        role, glyph = ("warn", "!") if issue.warning else ("bad", GLYPHS["failed"])
        page.add((f"\n{glyph} " + (f"line {issue.line}: " if issue.line else ""), role))
        page.add((clean(issue.what), "text"), (f"; {clean(issue.fix)}" if issue.fix else "", "dim"))
    if issues:
        page.add(("\n", ""))


def _default(given: Input) -> str:
    if given.required:
        return "required"
    value = clean(json.dumps(given.default, ensure_ascii=False))
    return value if len(value) <= 30 else value[:29] + "…"


def _does(page: _Page, made: Plan, definition: Definition) -> None:
    if simulated := sum(deed.simulated for deed in made.deeds):
        page.add((f"  simulates  {simulated} of {len(definition.agents)} agents\n", "text"))
    for word, named in made.targets().items():
        for index, one in enumerate(map(clean, named[:6])):
            page.add((f"  {word if not index else '':<10} ", "dim"))
            page.add(((one if len(one) <= 90 else one[:89] + "…") + "\n", "text"))
        if len(named) > 6:
            page.add((f"  {'':<10} … {len(named) - 6} more\n", "dim"))


def total_of(row: RunRow) -> int:
    """How many tasks a run has in all: what its tasks file says, else those that came so far."""
    total = row.source.get("total")
    return max(1, row.tasks.total, total if isinstance(total, int) else 0)


def run(row: RunRow, styles: RoleStyles, width: int, lines: Iterable[LogLine] = (), reading: str = "") -> Text:
    """A page on a run; `lines` are the last of its log. `reading` says how far its graph is read."""
    page = _Page(styles, Text(no_wrap=True, overflow="ellipsis"))
    page.add((clean(row.workflow), "title"), (f"  {row.run}\n\n", "dim"))
    page.add((f"{GLYPHS.get(row.state, ' ')} {row.state_text}", row.state))
    page.add((" · simulated" if row.simulated else "", "dim"), ("\n\n", ""))
    tasks, total = row.tasks, total_of(row)
    wide = max(10, min(40, width - 4))
    done, failed = (round(wide * n / total) for n in (tasks.done, tasks.failed))
    page.add(("━" * done, "done"), ("━" * failed, "failed"))
    page.add(("─" * max(0, wide - done - failed) + "\n", "line"))
    page.add((f"{tasks.done:,} of {total:,} tasks done", "text"))
    page.add((f", {tasks.failed:,} failed" if tasks.failed else "", "failed"), ("\n\n", ""))
    facts = [("paused", row.pause_reason)] if row.state == "paused" and row.pause_reason else []
    facts += [("started", moment(row.started)), ("took" if row.ended else "runs for", seconds(row.seconds))]
    if row.idle >= 1:
        facts.append(("idle", f"{seconds(row.idle)} in which no process ran it"))
    if row.state in ("running", "paused"):
        facts.append(("owner", f"process {row.pid} on {row.host}"))
    if row.source.get("file"):
        facts.append(("file", near(str(row.source["file"]))))
    if row.source.get("tasks"):
        facts.append(("tasks", near(str(row.source["tasks"]))))
    for name, value in facts:
        page.add((f"{name:<9} ", "dim"), (clean(value) + "\n", "text"))
    if reading:
        page.add((f"{'graph':<9} ", "dim"), (reading + "\n", "warn"))
    if row.state == "interrupted":
        page.add(("\nNo process executes it. Open it and press R to resume it.\n", "warn"))
    lines = list(lines)
    if lines:
        page.add(("\nLatest\n", "title"))
    for line in lines:
        page.add((f"{clock(line.at)}  ", "dim"), (clean(f"{line.step} {line.task}  "), "title"))
        page.add((clean(line.text) + "\n", "text"))
    return page.text


def near(path: str) -> str:
    """A path as it is seen from here, where that is shorter."""
    for folder, short in ((Path.cwd(), ""), (Path.home(), "~/")):
        if path.startswith(f"{folder}/"):
            return short + path[len(str(folder)) + 1 :]
    return path


def launch(seen: LaunchForecast, styles: RoleStyles) -> Text:
    """What a launch would be like: what to expect first, then why, then what will be executed."""
    made, page = seen.plan, _Page(styles, Text())

    def line(label: str, value: str, role: str = "text", note: str = "") -> None:
        page.add((f"{label:<12}", "dim"), (value, role), (f"  {note}\n" if note else "\n", "dim"))

    # How many items an `each` gives is known in a run at the earliest: without it there is only a least.
    least = "at least " if made.uncounted else ""
    line("expected", least + seconds(seen.seconds), "title", f"{made.tasks:,} task{'s' * (made.tasks > 1)}")
    line("at best", seconds(made.lower_bound), note="no schedule is faster")
    line("sequential", "unknown" if made.uncounted else seconds(made.sequential), "dim")
    if made.uncounted:
        line("items", "unknown", "warn", clean(f"of {', '.join(made.uncounted[:6])}: known only in the run"))
    if made.tasks > 1:
        line("first task", seconds(seen.first))
    line("workers", f"{seen.busy:.0%} busy", "warn" if seen.holds == "workers" else "text")
    held = {"workers": "workers; more would help", "path": "the critical path, not the workers"}
    line("limited by", clean(held.get(seen.holds, seen.holds)), "text" if seen.holds in held else "warn")
    if seen.usd is None:
        line("cost", "unknown", "dim")
    else:
        low, high = (dollars(each) for each in seen.usd)
        line("cost", low if low == high else f"{low} to {high}")
    if made.assumed:
        line("assumed", "1 s each", "warn", clean(", ".join(made.assumed[:6]) + "…" * (len(made.assumed) > 6)))
    page.add(("\ncritical path\n", "title"), (clean(" → ".join(made.critical_path)) + "\n", "critical"))
    page.add(("\nlevels\n", "title"))
    for number, level in enumerate(made.levels, 1):
        names = ", ".join(level[:8]) + (f" and {len(level) - 8} more" if len(level) > 8 else "")
        page.add((f"{number:>2}  ", "dim"), (clean(names) + "\n", "text"))
    page.add(("\nwill be executed\n", "title"))
    for heading, targets in made.targets().items():
        if targets:
            shown = ", ".join(targets[:5]) + (f" and {len(targets) - 5} more" if len(targets) > 5 else "")
            page.add((f"{heading:<9} ", "dim"), (clean(shown) + "\n", "text"))
    if any(deed.simulated for deed in made.deeds):
        page.add((f"{'simulate':<9} ", "dim"), ("nothing real\n", "text"))
    return page.text
