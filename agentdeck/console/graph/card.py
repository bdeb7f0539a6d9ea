"""What a node shows of its state: a value that is compared between frames. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agentdeck.console.graph.nodes import Node
from agentdeck.scheduler.program import assumed
from agentdeck.terminal_text import clean
from agentdeck.views.agent_totals import DISPLAY_STATES, AgentTotals, RunTotals
from agentdeck.workflow.model import Definition

CRITICAL = "critical"
#: An agent with at most one failure in so many steps is not drawn as failed; its count says it.
FEW = 10
_NOTHING = dict.fromkeys(DISPLAY_STATES, 0)


#: Marks of an agent whose inner steps are not shown, and of one whose are.
FOLDED, UNFOLDED = "▸", "▾"
#: Inner steps by name that one agent has rows for.
INNER_ROWS = 12


class InnerRow(NamedTuple):
    """Inner steps of one name: `depth` of others are around it, it began `times` times, one takes `time`."""

    depth: int
    name: str
    state: str
    times: int = 0
    failed: int = 0
    time: str = ""


class Card(NamedTuple):
    """`counts` are steps by state, `total` how many are expected. `times` is a number of items or agents, shown
    beside the name. `members` are the states of a group's agents. `spoilt` of the failed steps were never
    tried: something they need failed. `inside` marks an agent that has inner steps, as folded or unfolded; `now`
    says which of them runs. `inner` are those that are drawn, a row each."""

    state: str = "waiting"
    counts: tuple[int, ...] = (0,) * len(DISPLAY_STATES)
    total: int = 0
    time: str = ""
    note: str = ""
    times: int = 0
    stand_ins: int = 0
    members: tuple[str, ...] = ()
    spoilt: int = 0
    inside: str = ""
    now: str = ""
    inner: tuple[InnerRow, ...] = ()

    @property
    def failed_role(self) -> str:
        """The role of the count of failures: dim where the steps failed only because of others."""
        return failed_role(self.by_state["failed"], self.spoilt)

    @property
    def by_state(self) -> dict[str, int]:
        return dict(zip(DISPLAY_STATES, self.counts, strict=True))

    @property
    def ended(self) -> int:
        return sum(self.counts[DISPLAY_STATES.index("done") :])


def state_of(counts: Mapping[str, int]) -> str:
    """One state for all steps of an agent: an active one, else failed, else an ended one; waiting where there are
    no steps."""
    on = next((state for state in ("asking", "running", "ready", "waiting") if counts[state] > 0), None)
    if on is None and counts["failed"] * FEW > counts["done"]:
        return "failed"
    return on or next(
        (state for state in ("done", "rejected", "cancelled", "skipped") if counts[state] > 0), "waiting"
    )


def failed_role(failed: int, spoilt: int) -> str:
    return "failed" if failed > spoilt else "dim"


class Progress(NamedTuple):
    """How far a run has come: the totals of its agents, how many tasks are expected at least, when the oldest
    running attempt of each agent began, and the run's clock."""

    agents: Mapping[str, AgentTotals] = {}
    tasks: int = 0
    since: Mapping[str, float] = {}
    now: float = 0.0
    totals: RunTotals | None = None

    def inner(self, name: str) -> list[AgentTotals]:
        """The inner steps directly below an agent or an inner step."""
        return self.totals.inner_below(name) if self.totals is not None else []

    def steps(self, name: str) -> Mapping[str, int]:
        """The steps of an agent by state."""
        totals = self.agents.get(name)
        return totals.display_counts if totals else _NOTHING


def runs_inside(name: str, progress: Progress) -> str:
    """The name of an inner step of an agent that runs, the innermost one, and how many run beside it; empty where
    none does."""
    found, beside = "", 0
    while running := [one for one in progress.inner(name) if one.counts["running"] > 0]:
        name, found = running[0].name, running[0].name.rpartition("/")[2]
        beside += sum(one.counts["running"] for one in running) - 1
    return clean(found) + (f" +{short(beside)}" if beside else "")


def inner_rows(name: str, progress: Progress) -> tuple[InnerRow, ...]:
    """The rows of an unfolded agent. Where they are too many, the last one says so."""
    assert progress.totals is not None
    every = list(progress.totals.inner_tree(name, depth=0))
    rows = [_inner_row(depth, totals) for depth, totals in every[:INNER_ROWS]]
    if len(every) > INNER_ROWS:
        rows[-1] = InnerRow(0, f"… {len(every) - INNER_ROWS + 1} more names", "waiting")
    return tuple(rows)


def _inner_row(depth: int, totals: AgentTotals) -> InnerRow:
    median = totals.durations.quantile(0.5)
    time = "" if median is None else seconds(median)
    name = clean(totals.name.rpartition("/")[2])
    return InnerRow(depth, name, state_of(totals.display_counts), totals.attempts, totals.counts["failed"], time)


def card_of(
    node: Node, progress: Progress, *, many: bool = False, note: str = "", unfolded: bool = False
) -> Card:
    """What to show of a node. `many` agents have a step per item, however many tasks there are."""
    if node.kind == "group":
        each = [progress.steps(name) for name in node.members]
        counts = tuple(sum(steps[state] for steps in each) for state in DISPLAY_STATES)
        expected = progress.tasks * len(each)
        members = tuple(state_of(steps) for steps in each)
    else:
        counts = tuple(progress.steps(node.name).values())
        expected = 0 if many or node.kind == "spare" else progress.tasks
        members = ()
    totals = progress.agents.get(node.name)
    durations = totals.durations if totals and node.kind != "group" else None
    since, seen, time = progress.since.get(node.name), sum(counts), ""
    if since is not None and (durations is None or not durations.count or seen <= 1):
        time = seconds(max(0.0, progress.now - since), whole=True)
    elif durations is not None and durations.count:
        time = seconds(durations.quantile(0.5) or 0.0)
    inside = node.kind != "group" and bool(progress.inner(node.name))
    return Card(
        state_of(dict(zip(DISPLAY_STATES, counts, strict=True))),
        counts,
        max(seen, expected),
        time,
        note,
        len(members) or (seen if many else 0),
        totals.attempts if totals and node.kind == "spare" else 0,
        members,
        sum(progress.agents[name].blocked for name in node.members or (node.name,) if name in progress.agents),
        (UNFOLDED if unfolded else FOLDED) if inside else "",
        runs_inside(node.name, progress) if inside else "",
        inner_rows(node.name, progress) if inside and unfolded else (),
    )


def seconds(value: float, *, whole: bool = False) -> str:
    """A duration in at most five characters. `whole`: a clock that runs, so no more than a change a second."""
    if value < 0.9995 and not whole:
        return f"{value * 1000:.0f}ms"
    if value < 9.95 and not whole:
        return f"{value:.1f}s"
    if value < 99.5:
        return f"{value:.0f}s"
    if value < 5970:
        return f"{value / 60:.0f}m"
    return f"{value / 3600:.0f}h" if value < 356400 else f"{value / 86400:.0f}d"


def short(number: int) -> str:
    """A count in at most four characters."""
    if number < 10_000:
        return str(number)
    return f"{number // 1000}k" if number < 1_000_000 else f"{number // 1_000_000}M"


def attempt_seconds(definition: Definition, totals: Mapping[str, AgentTotals]) -> dict[str, float]:
    """Seconds of one attempt of each agent: as seen so far, else what it is declared to take, else one."""
    return assumed(definition, {name: mean for name, one in totals.items() if (mean := one.typical) is not None})


def slack_note(value: float) -> str:
    """By how much an agent could end later without delaying its task."""
    return f"+{seconds(value)}" if value > 0.0005 else CRITICAL
