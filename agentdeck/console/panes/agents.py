"""The agents of a run: what they do, what they wait for, how often they fail, and what they cost."""

from __future__ import annotations

from agentdeck.console.graph.card import failed_role, state_of
from agentdeck.console.line_widget import Pieces, bar
from agentdeck.console.log.lines import task_of
from agentdeck.console.pane import Selection, SelectionChanged
from agentdeck.console.state_style import GLYPHS
from agentdeck.console.table import Table
from agentdeck.console.table_model import Column, TableRows
from agentdeck.insight.formatting import count, dollars, percent, seconds
from agentdeck.terminal_text import clean
from agentdeck.views.agent_totals import AgentTotals
from agentdeck.views.run_view import RunView

DASH: Pieces = (("–", "line"),)


def number(value: int, role: str) -> Pieces:
    """A count; a faint dot for zero."""
    return ((f"{value:,}" if value < 100_000 else count(value), role),) if value else (("·", "line"),)


def longest(waiting: dict[str, float]) -> tuple[str, float]:
    """The reason of the longest wait, and its seconds. Waiting for needs is left out."""
    waits = [(spent, reason) for reason, spent in waiting.items() if reason != "needs"]
    spent, reason = max(waits, key=lambda wait: wait[0], default=(0.0, ""))
    return reason, spent


def success(totals: AgentTotals) -> float | None:
    """The share of ended attempts that ended well. None while none has ended."""
    ended = totals.durations.count + totals.reused + totals.failed_attempts
    return (ended - totals.failed_attempts) / ended if ended else None


class AgentsPane(Table[AgentTotals]):
    """The agents table. Its cursor follows the selection, and moving it selects."""

    def __init__(self) -> None:
        self.rows = TableRows[AgentTotals](lambda totals: totals.name, lambda totals: totals.name)
        self.selection = Selection()
        super().__init__(COLUMNS, self.rows, empty="no agents yet")

    def tick(self, view: RunView, now: float) -> None:
        self.placeholder = ""
        self.rows.set_rows([totals for totals in view.agents.values() if totals.has_steps or totals.attempts])
        self.refresh_lines()

    def show_selection(self, selection: Selection) -> None:
        self.selection = selection
        if selection.agent:
            self.move_to_key(selection.agent)

    @property
    def cursor_selection(self) -> Selection | None:
        if not self.rows.count or self.key == self.selection.agent:
            return None
        return self._selection_of(str(self.key))

    def on_table_row_changed(self, event: Table.RowChanged) -> None:
        event.stop()
        self.selection = self._selection_of(str(event.key))
        self.post_message(SelectionChanged(self, self.selection, opened=event.opened))

    def _selection_of(self, agent: str) -> Selection:
        return Selection(agent, task_of(agent, self.selection.task))


def _name(totals: AgentTotals) -> Pieces:
    state = state_of(totals.display_counts)
    return ((clean(totals.name), state if state in ("running", "asking", "failed") else "text"),)


def _count(state: str) -> Column[AgentTotals]:
    def role(totals: AgentTotals) -> str:
        return failed_role(totals.steps["failed"], totals.blocked) if state == "failed" else state

    return Column(
        "queued" if state == "ready" else state,
        lambda totals: _beside(totals, state, role(totals)),
        7 if state == "running" else 6,
        right=True,
        rank=0 if state in ("running", "failed") else 1,
        order=lambda totals: totals.steps[state],
    )


def _beside(totals: AgentTotals, state: str, role: str) -> Pieces:
    """How many steps are in a state, and before it, with its glyph, in one that has no column of its own."""
    counts, other = totals.display_counts, BESIDE.get(state, "")
    many = counts[other] if other else 0
    if not many:
        return number(counts[state], role)
    beside = (f"{GLYPHS[other]}{count(many)}", other)
    return (beside, (" ", "text"), *number(counts[state], role)) if counts[state] else (beside,)


def _progress(totals: AgentTotals) -> Pieces:
    steps = totals.display_counts
    own = max(0, steps["failed"] - totals.blocked)
    steps["cancelled"] += steps["failed"] - own  # neither were they tried
    steps["failed"] = own
    return bar([(steps[state], state) for state in BAR_STATES], max(1, sum(steps.values())), BAR)


def _quantile(name: str, share: float, rank: int) -> Column[AgentTotals]:
    def value(totals: AgentTotals) -> float | None:
        return totals.durations.quantile(share)

    def show(totals: AgentTotals) -> Pieces:
        return DASH if (found := value(totals)) is None else ((seconds(found), "text"),)

    return Column(name, show, 7, right=True, rank=rank, order=value)


def _success(totals: AgentTotals) -> Pieces:
    share = success(totals)
    if share is None:
        return DASH
    return ((percent(share), "text" if share >= 0.95 else "warn" if share >= 0.5 else "bad"),)


def _waiting(totals: AgentTotals) -> Pieces:
    reason, spent = longest(totals.waiting)
    return DASH if spent < 0.05 else ((f"{seconds(spent):>7} ", "text"), (clean(reason), reason))


def _tokens(totals: AgentTotals) -> Pieces:
    if totals.tokens_in is None and totals.tokens_out is None:
        return DASH
    shown = [count(n) if n is not None else "?" for n in (totals.tokens_in, totals.tokens_out)]
    return ((f"{shown[0]}→{shown[1]}", "text"),)


def _usd(totals: AgentTotals) -> Pieces:
    if totals.cost is None:
        return (("?", "warn"),) if totals.costs_unknown else DASH
    return ((dollars(totals.cost), "text"),)


BAR = 10
BAR_STATES = ("done", "rejected", "skipped", "failed", "cancelled", "asking", "running")
#: column: the state whose count is shown in it too.
BESIDE = {"running": "asking", "done": "rejected"}
COLUMNS: tuple[Column[AgentTotals], ...] = (
    Column("state", lambda totals: ((GLYPHS[s := state_of(totals.display_counts)], s),), 1, title=""),
    Column("agent", _name, 10, flex=1, most=28, order=lambda totals: totals.name),
    Column("progress", _progress, BAR, rank=1, title=""),
    _count("ready"),
    _count("running"),
    _count("done"),
    _count("failed"),
    _quantile("p50", 0.5, 4),
    _quantile("p95", 0.95, 3),
    Column(
        "tries", lambda totals: number(totals.attempts, "text"), 6, right=True, rank=7,
        order=lambda totals: totals.attempts,
    ),
    Column("ok", _success, 5, right=True, rank=5, order=success),
    Column("waited for", _waiting, 20, rank=2, order=lambda totals: longest(totals.waiting)[1]),
    Column("tokens", _tokens, 11, right=True, rank=8, order=lambda totals: totals.tokens_in),
    Column("$", _usd, 8, right=True, rank=6, order=lambda totals: totals.cost),
)  # fmt: skip
