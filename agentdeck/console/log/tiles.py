"""Log panes side by side: one that follows the selection, and up to six that are pinned to an agent."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Grid

from agentdeck.console.actions import bindings
from agentdeck.console.log.lines import LineStore, steady
from agentdeck.console.log.pane import LogPane
from agentdeck.console.pane import Selection
from agentdeck.views.run_view import RunView

PINNED = 6
#: panes: (columns, rows)
SHAPES = {1: (1, 1), 2: (2, 1), 3: (2, 2), 4: (2, 2), 5: (3, 2), 6: (3, 2), 7: (3, 3)}
NARROW = 100  # cells below which two panes are above each other


class LogTiles(Grid):
    """The logs of a run. The screen treats it as one pane: `tick` and `show_selection` go to all of them.

    With pinned panes that fill the shape, the following one comes first; it is never removed.
    """

    DEFAULT_CSS = """
    LogTiles { height: 1fr; grid-gutter: 0 1; }
    """
    BINDINGS = bindings("log", "tiles")

    def __init__(self, lines: LineStore) -> None:
        super().__init__()
        self.lines = lines
        self._names = 0
        self.following = LogPane(lines)

    def compose(self) -> ComposeResult:
        yield self.following

    @property
    def panes(self) -> list[LogPane]:
        return list(self.query_children(LogPane))

    @property
    def pinned(self) -> list[str]:
        """The agents whose logs are pinned, in order."""
        return [pane.agent for pane in self.panes if pane.pinned]

    def tick(self, view: RunView, now: float) -> None:
        inside = view.totals.inside.values()
        if sum(len(graph.agents) for graph in inside) != self._names:
            self._names = sum(len(graph.agents) for graph in inside)
            self.lines.inner = inner_names(view)
        self.frame()

    def frame(self) -> None:
        for pane in self.panes:
            pane.frame()

    def show_selection(self, selection: Selection) -> None:
        self.following.show_selection(selection)

    @property
    def cursor_selection(self) -> Selection | None:
        return next((pane for pane in self.panes if pane.has_focus_within), self.following).cursor_selection

    def pin(self, agent: str) -> bool:
        """Pin an agent's log. False if it is pinned already, or there is no room."""
        if not agent or agent in self.pinned or len(self.pinned) >= PINNED:
            return False
        self.mount(LogPane(self.lines, agent=agent))
        self._shape(len(self.panes))
        return True

    def unpin(self, agent: str) -> bool:
        """False if it was not pinned."""
        for pane in self.panes:
            if pane.pinned and pane.agent == agent:
                if pane.has_focus_within:
                    self.following.body.focus()
                pane.remove()
                self._shape(len(self.panes) - 1)
                return True
        return False

    def on_resize(self) -> None:
        self._shape(len(self.panes))

    def _shape(self, number: int) -> None:
        columns, rows = SHAPES[max(1, min(number, PINNED + 1))]
        if number == 2 and self.size.width < NARROW:
            columns, rows = 1, 2
        self.styles.grid_size_columns, self.styles.grid_size_rows = columns, rows
        # The following pane takes what the shape has over.
        spare = columns * rows - number
        self.following.styles.column_span = 1 + min(spare, columns - 1)

    # Keys ---------------------------------------------------------------------------------------------------

    def action_pin(self) -> None:
        """Unpin the pinned pane that has the focus; else pin the selected agent, or the one under
        the cursor."""
        here = next((pane for pane in self.panes if pane.has_focus_within), self.following)
        if here.pinned:
            self.unpin(here.agent)
            return
        line = here.body.current()
        agent = here.selection.agent or (line.agent if line is not None else "")
        if agent and not self.pin(agent):
            why = (
                "is pinned already"
                if agent in self.pinned
                else f"is not pinned: at most {PINNED} logs can be pinned"
            )
            self.app.notify(f"{steady(agent)} {why}", markup=False, timeout=3)

    def action_unpin_all(self) -> None:
        for agent in self.pinned:
            self.unpin(agent)
        self._shape(1)


def inner_names(view: RunView) -> set[tuple[str, str]]:
    """The names of the inner steps of each agent, as its lines begin."""
    return {
        (name, steady(inner.name.rpartition("/")[2]))
        for name in view.agents
        for _, inner in view.totals.inner_tree(name)
    }
