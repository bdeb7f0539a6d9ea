"""The agents of a run: what they do, what they wait for, how often they fail, and what they cost."""

from __future__ import annotations

from agentdeck.console.bars import bar
from agentdeck.console.graph.card import failed_role, state_of
from agentdeck.console.line_widget import Pieces
from agentdeck.console.log.lines import task_of
from agentdeck.console.pane import Selection, SelectionChanged
from agentdeck.console.state_style import GLYPHS
from agentdeck.console.table import Table
from agentdeck.console.table_model import Column, TableRows
from agentdeck.insight.formatting import count, dollars, percent, seconds
from agentdeck.terminal_text import clean
from agentdeck.views.agent_totals import AgentTotals
from agentdeck.views.run_view import RunView


def number(value: int, role: str) -> Pieces:
    """A count; a faint dot for zero."""
    return ((f"{value:,}" if value < 100_000 else count(value), role),) if value else (("·", "line"),)


def longest(waiting: dict[str, float]) -> tuple[str, float]:
    """The reason of the longest wait, and its seconds. Waiting for needs is left out."""
    told = {reason: spent for reason, spent in waiting.items() if reason != "needs"}
    reason = max(told, key=lambda r: told[r], default="")
    return reason, told.get(reason, 0.0)


def success(tally: AgentTotals) -> float | None:
    """The share of ended attempts that ended well. None while none has ended."""
    ended = tally.durations.count + tally.reused + tally.failed_attempts
    return (ended - tally.failed_attempts) / ended if ended else None


class AgentsPane(Table[AgentTotals]):
    """The agents table. Its cursor follows the selection, and moving it selects."""

    def __init__(self) -> None:
        self.rows = TableRows[AgentTotals](lambda tally: tally.name, lambda tally: tally.name)
        self.selection = Selection()
        super().__init__(COLUMNS, self.rows, empty="no agents yet")

    def tick(self, view: RunView, now: float) -> None:
        self.placeholder = ""
        self.rows.set_rows([tally for tally in view.agents.values() if tally.has_steps or tally.attempts])
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


def _state(tally: AgentTotals) -> Pieces:
    state = state_of(tally.display_counts)
    return ((GLYPHS[state], state),)


def _name(tally: AgentTotals) -> Pieces:
    state = state_of(tally.display_counts)
    return ((clean(tally.name), state if state in ("running", "asking", "failed") else "text"),)


def _failed(tally: AgentTotals) -> str:
    return failed_role(tally.steps["failed"], tally.blocked)


def _count(state: str) -> Column[AgentTotals]:
    role = {"ready": "ready", "running": "running", "done": "done", "failed": "failed"}[state]
    title = "queued" if state == "ready" else state
    return Column(
        title,
        lambda tally: _beside(tally, state, _failed(tally) if state == "failed" else role),
        7 if state == "running" else 6,
        right=True,
        rank=0 if state in ("running", "failed") else 1,
        order=lambda tally: tally.steps[state],
    )


def _beside(tally: AgentTotals, state: str, role: str) -> Pieces:
    """How many steps are in a state, and before it, with its glyph, in one that has no column of its own."""
    counts, other = tally.display_counts, BESIDE.get(state, "")
    many = counts[other] if other else 0
    if not many:
        return number(counts[state], role)
    beside = (f"{GLYPHS[other]}{count(many)}", other)
    return (beside, (" ", "text"), *number(counts[state], role)) if counts[state] else (beside,)


def _progress(tally: AgentTotals) -> Pieces:
    steps = tally.display_counts
    own = max(0, steps["failed"] - tally.blocked)
    steps["cancelled"] += steps["failed"] - own  # neither were they tried
    steps["failed"] = own
    parts = [
        (steps[state], state)
        for state in ("done", "rejected", "skipped", "failed", "cancelled", "asking", "running")
    ]
    return bar(parts, max(1, sum(steps.values())), BAR)


def _quantile(name: str, share: float, rank: int) -> Column[AgentTotals]:
    return Column(
        name,
        lambda tally: (
            (("–", "line"),)
            if (value := tally.durations.quantile(share)) is None
            else ((seconds(value), "text"),)
        ),
        7,
        right=True,
        rank=rank,
        order=lambda tally: tally.durations.quantile(share),
    )


def _success(tally: AgentTotals) -> Pieces:
    share = success(tally)
    if share is None:
        return (("–", "line"),)
    return ((percent(share), "text" if share >= 0.95 else "warn" if share >= 0.5 else "bad"),)


def _waiting(tally: AgentTotals) -> Pieces:
    reason, spent = longest(tally.waiting)
    if spent < 0.05:
        return (("–", "line"),)
    return ((f"{seconds(spent):>7} ", "text"), (clean(reason), reason))


def _tokens(tally: AgentTotals) -> Pieces:
    if tally.tokens_in is None and tally.tokens_out is None:
        return (("–", "line"),)
    shown = [count(n) if n is not None else "?" for n in (tally.tokens_in, tally.tokens_out)]
    return ((f"{shown[0]}→{shown[1]}", "text"),)


def _usd(tally: AgentTotals) -> Pieces:
    if tally.cost is None:
        return (("?", "warn"),) if tally.costs_unknown else (("–", "line"),)
    return ((dollars(tally.cost), "text"),)


BAR = 10
#: column: the state whose count is shown in it too.
BESIDE = {"running": "asking", "done": "rejected"}
COLUMNS: tuple[Column[AgentTotals], ...] = (
    Column("state", _state, 1, title=""),
    Column("agent", _name, 10, flex=1, most=28, order=lambda tally: tally.name),
    Column("progress", _progress, BAR, rank=1, title=""),
    _count("ready"),
    _count("running"),
    _count("done"),
    _count("failed"),
    _quantile("p50", 0.5, 4),
    _quantile("p95", 0.95, 3),
    Column(
        "tries", lambda tally: number(tally.attempts, "text"), 6, right=True, rank=7,
        order=lambda tally: tally.attempts,
    ),
    Column("ok", _success, 5, right=True, rank=5, order=success),
    Column("waited for", _waiting, 20, rank=2, order=lambda tally: longest(tally.waiting)[1]),
    Column("tokens", _tokens, 11, right=True, rank=8, order=lambda tally: tally.tokens_in),
    Column("$", _usd, 8, right=True, rank=6, order=lambda tally: tally.cost),
)  # fmt: skip
