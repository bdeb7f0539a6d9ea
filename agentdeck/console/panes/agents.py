"""The agents of a run: what they do, what they wait for, how often they fail, and what they cost."""

from __future__ import annotations

from agentdeck.console.actions import bindings
from agentdeck.console.graph.card import failed_role, state_of
from agentdeck.console.line_widget import Piece, Pieces, bar
from agentdeck.console.log.lines import task_of
from agentdeck.console.pane import Selection, SelectionChanged
from agentdeck.console.state_style import GLYPHS
from agentdeck.console.table import Table
from agentdeck.console.table_model import Column, TableRows
from agentdeck.insight.formatting import count, dollars, percent, seconds
from agentdeck.terminal_text import clean
from agentdeck.views.agent_totals import AgentTotals, RunTotals
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
    """The agents table. Its cursor follows the selection, and moving it selects. Below an agent that is unfolded
    are its inner steps by name, those inside others indented. Keys act on the agent of such a row."""

    BINDINGS = bindings("inside") + bindings("table")

    def __init__(self) -> None:
        self.rows = TableRows[AgentTotals](lambda totals: totals.name, lambda totals: totals.name)
        self.selection = Selection()
        #: Agents whose inner steps are shown, and inner steps inside which nothing is shown.
        self.unfolded: set[str] = set()
        self.folded: set[str] = set()
        self._could_fold = False
        self._totals = RunTotals(None)
        self._inner: dict[str, tuple[int, str]] = {}  # by row: its depth, and its agent
        names = Column("agent", self._label, 10, flex=1, most=28, order=_path)
        self._everywhere = (COLUMNS[0], names, *COLUMNS[1:])
        self._without_place = tuple(column for column in self._everywhere if column is not PLACE)
        super().__init__(self._without_place, self.rows, empty="no agents yet")

    def tick(self, view: RunView, now: float) -> None:
        self.placeholder = ""
        rows: list[AgentTotals] = []
        self._totals, self._inner = view.totals, {}
        for totals in view.agents.values():
            if totals.has_steps or totals.attempts:
                rows.append(totals)
                if totals.name in self.unfolded:
                    for depth, inner in view.totals.inner_tree(totals.name, self.folded):
                        rows.append(inner)
                        self._inner[inner.name] = depth, totals.name
        self.rows.set_rows(rows)
        elsewhere = any(totals.place or totals.workers for totals in rows)
        self.show_columns(self._everywhere if elsewhere else self._without_place)
        self.refresh_lines()
        if self._could_fold != (folds := self._folds()):
            self._could_fold = folds
            self.refresh_bindings()

    def show_selection(self, selection: Selection) -> None:
        self.selection = selection
        if selection.agent and selection.agent != self._agent(self.key):
            self.move_to_key(selection.agent)

    @property
    def cursor_selection(self) -> Selection | None:
        if not self.rows.count or self._agent(self.key) == self.selection.agent:
            return None
        return self._selection_of(self._agent(self.key))

    def on_table_row_changed(self, event: Table.RowChanged) -> None:
        event.stop()
        self.selection = self._selection_of(self._agent(event.key))
        self.post_message(SelectionChanged(self, self.selection, opened=event.opened))
        self.refresh_bindings()

    def _selection_of(self, agent: str) -> Selection:
        return Selection(agent, task_of(agent, self.selection.task))

    def _agent(self, key: object) -> str:
        """The agent of a row."""
        name = "" if key is None else str(key)
        return self._inner[name][1] if name in self._inner else name

    # What is inside an agent

    def _folds(self) -> bool:
        """Whether the row under the cursor has something inside it."""
        return bool(self.key is not None and self._totals.inner_below(str(self.key)))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The key that folds an agent marks one without inner steps."""
        if action in ("fold", "mark"):
            return self._folds() == (action == "fold")
        return super().check_action(action, parameters)

    def action_fold(self) -> None:
        name = str(self.key)
        if name in self._inner:
            self.folded ^= {name}
        else:
            self.unfolded ^= {name}

    def _label(self, totals: AgentTotals) -> Pieces:
        """The name of an agent, with a mark where it folds. An inner step is indented; where rows are sorted or
        filtered, it has the names of those around it instead."""
        state = state_of(totals.display_counts)
        role = state if state in ("running", "asking", "failed") else "text"
        name, depth = totals.name, 0
        if name in self._inner:
            role = role if role != "text" else "dim"
            if self.sorted_by is None and not self.filter:
                depth, name = self._inner[name][0], name.rpartition("/")[2]
        if not self._totals.inside:
            return ((clean(name), role),)
        open_ = totals.name not in self.folded if totals.name in self._inner else totals.name in self.unfolded
        mark = ("▾ " if open_ else "▸ ") if self._totals.inner_below(totals.name) else "  "
        return (("  " * depth + mark, "accent"), (clean(name), role))


def _path(totals: AgentTotals) -> str:
    return totals.name


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


def _ran_on(totals: AgentTotals) -> Pieces:
    """The place, and its workers with the number of attempts that they began, that with most of them first."""
    if not totals.place and not totals.workers:
        return DASH
    workers = sorted(totals.workers, key=lambda name: -totals.workers[name])[:NAMED]
    pieces: list[Piece] = [(clean(totals.place), "text")] if totals.place else []
    if len(totals.workers) > 1:
        pieces.append((f" {len(totals.workers)}×", "dim"))
    for name in workers:
        pieces += [(" " * bool(pieces) + clean(name), "dim"), (f" {count(totals.workers[name])}", "text")]
    return tuple(pieces)


#: Workers of a place that are named.
NAMED = 4
BAR = 10
BAR_STATES = ("done", "rejected", "skipped", "failed", "cancelled", "asking", "running")
#: column: the state whose count is shown in it too.
BESIDE = {"running": "asking", "done": "rejected"}
#: Where it runs: only shown in a run with places.
PLACE = Column("place", _ran_on, 18, flex=4, most=48, rank=1, order=lambda totals: totals.place)
#: All but the name.
COLUMNS: tuple[Column[AgentTotals], ...] = (
    Column("state", lambda totals: ((GLYPHS[s := state_of(totals.display_counts)], s),), 1, title=""),
    Column("progress", _progress, BAR, rank=1, title=""),
    _count("ready"),
    _count("running"),
    _count("done"),
    _count("failed"),
    PLACE,
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
