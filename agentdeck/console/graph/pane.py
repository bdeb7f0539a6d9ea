"""The graph pane: one canvas for the whole graph, repainted only where something changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain, islice, pairwise

from rich.segment import Segment
from textual import events
from textual.geometry import Offset, Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from agentdeck.console.actions import bindings
from agentdeck.console.graph.canvas import Span
from agentdeck.console.graph.card import (
    Card,
    Progress,
    attempt_seconds,
    card_of,
    inner_rows,
    slack_note,
    state_of,
)
from agentdeck.console.graph.nodes import Node, edges_of, nodes_of
from agentdeck.console.graph.scene import LEVELS, Edge, Level, Scene, Way, best, scene
from agentdeck.console.graph.status_map import StatusMap, legend
from agentdeck.console.graph.styles import CanvasStyles, colourful
from agentdeck.console.line_widget import CachedBackground
from agentdeck.console.pane import Selection, SelectionChanged
from agentdeck.console.state_style import role_styles
from agentdeck.insight.lower_bound import schedule
from agentdeck.views.agent_totals import AgentTotals
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Definition

#: Seconds for which the outgoing edges of an agent glow after a result.
GLOW = 0.6
#: Invisible nodes that are updated in one tick.
BEHIND = 400
#: Beyond so many agents the critical path is computed once, from the declared durations.
TRACED = 2000
#: Seconds after which the critical path is computed again.
RETRACE = 2.0


class GraphPane(CachedBackground, ScrollView, can_focus=True, inherit_bindings=False):
    """The graph of one workflow, live. Posts `SelectionChanged` for the node under the cursor.

    Before the first tick it shows what each agent does. `total` is how many tasks are to come, where that is
    known before the log says so.
    """

    DEFAULT_CSS = "GraphPane { height: 1fr; width: 1fr; scrollbar-size: 1 1; }"

    BINDINGS = bindings("graph") + bindings("inside")

    def __init__(self, definition: Definition) -> None:
        super().__init__()
        self.definition = definition
        self.selected = ""
        self.slack = False
        self.total: int | None = None
        self._all_nodes = nodes_of(definition)
        self._needs = edges_of(definition)
        self.unfolded: set[str] = set()
        self._rows: dict[str, int] = {}  # of the unfolded agents
        self._could_fold = False
        self._many = {name for name, agent in definition.agents.items() if agent.each}
        self._wanted: Level | None = None
        self._drawing: Scene | StatusMap | None = None
        self._built: object = None
        self._origin = Offset(0, 0)
        self._followed = Offset(0, 0)
        self._live = False
        self._turn = 0
        self._done: dict[str, int] = {}
        self._glow: dict[str, float] = {}
        self._notes: dict[str, str] = {}
        self._path: tuple[str, ...] = ()
        self._traced = float("-inf")
        self._legend: list[Span] = []
        self._counts: Counter[str] = Counter()
        self._ink: CanvasStyles | None = None

    @property
    def level(self) -> Level:
        """The level of detail that is shown."""
        return self._drawing.level if self._drawing else "boxes"  # type: ignore[return-value]

    # The seam --------------------------------------------------------------------------------------------------

    def tick(self, view: RunView, now: float) -> None:
        """Update the visible nodes, and a share of the others."""
        if not self.size:
            return
        tasks = max(view.tasks.total or self.total or 0, view.tasks.opened)
        progress = Progress(view.agents, tasks, _oldest(view), now, view.totals)
        self._live = True
        self._rows = {name: len(inner_rows(name, progress)) for name in self.unfolded}
        if self._could_fold != (folds := bool(view.totals.inner_below(self.selected))):
            self._could_fold = folds
            self.refresh_bindings()
        if self._built != self._key():
            self._build(progress)
        drawing = self._drawing
        if isinstance(drawing, StatusMap):
            self._tick_map(drawing, progress)
        elif drawing is not None:
            if now - self._traced >= RETRACE or now < self._traced:
                self._traced = now
                self._trace(progress.agents)
            self._tick_scene(drawing, progress)

    @property
    def cursor_selection(self) -> Selection | None:
        return None  # the cursor of the graph is the shared selection

    def show_selection(self, selection: Selection) -> None:
        """Select this agent, or the sub-workflow that it belongs to."""
        name = selection.agent
        while name and name not in self._all_nodes:
            name = name.rpartition("/")[0]
        if name != self.selected:
            self._select(name)

    # Drawing ---------------------------------------------------------------------------------------------------

    def _key(self) -> object:
        return self.size, self._wanted, self._live, self._halves(), tuple(self._rows.items())

    def _card(self, node: Node, progress: Progress) -> Card:
        note, unfolded = self._notes.get(node.name, ""), node.name in self.unfolded
        return card_of(node, progress, many=node.name in self._many, note=note, unfolded=unfolded)

    def _expected(self, name: str, progress: Progress) -> int:
        """How many steps an agent has at least, beyond those that are counted."""
        return 0 if name in self._many else progress.tasks

    def _build(self, progress: Progress) -> None:
        """Lay everything out for this size and level."""
        width, height = self.size.width, self.size.height
        cards = {}
        if self._live and len(self._all_nodes) <= TRACED:
            cards = {name: self._card(node, progress) for name, node in self._all_nodes.items()}
        level = self._wanted or best(self._all_nodes, self._needs, cards, width, height)
        if level == "map":
            totals = {name: max(progress.tasks, sum(progress.steps(name).values())) for name in self._all_nodes}
            self._drawing = StatusMap(
                self._all_nodes, self._needs, totals, width, height - 1, halves=self._halves()
            )
            for name in self._all_nodes:
                self._drawing.set_counts(name, progress.steps(name), self._expected(name, progress))
        else:
            drawn = scene(self._all_nodes, self._needs, cards, level, width, height, halves=self._halves())
            self._drawing = drawn
            for name, node in drawn.nodes.items() if self._live else ():
                drawn.set_card(name, self._card(node, progress))
        self._built = self._key()
        self._done, self._glow = {}, {}
        self._place(self._drawing)
        self._followed = self.scroll_offset
        self._mark()
        self._select(self.selected)
        self.refresh()

    def _place(self, drawing: Scene | StatusMap) -> None:
        """Centre a drawing that is smaller than the pane."""
        width, height = self.size.width, self.size.height
        free = max(0, height - drawing.height) // 2 if drawing.level != "map" else 0
        self._origin = Offset(max(0, width - drawing.width) // 2, free)
        self.virtual_size = Size(max(width, drawing.width), max(height, drawing.height))

    def _tick_scene(self, drawing: Scene, progress: Progress) -> None:
        seen, now = self._seen(drawing), progress.now
        glowing = len(self._glow)
        self._glow = {name: until for name, until in self._glow.items() if now < until <= now + GLOW}
        changed = len(self._glow) != glowing
        names = list(drawing.nodes)
        # Groups of many thousands of agents are all updated in turn.
        crowded = drawing.level == "groups" and len(self._all_nodes) > TRACED
        due = self._behind(names) if crowded else chain(seen, self._behind(names))
        for name in due:
            card = self._card(drawing.nodes[name], progress)
            if drawing.set_card(name, card):
                self._refresh(Region(*drawing.region_of(name)))
            done = card.by_state["done"]
            if done > self._done.get(name, done):
                changed = changed or name not in self._glow
                self._glow[name] = now + GLOW
            self._done[name] = done
        if changed:
            self._mark()
        self._follow(drawing, seen)

    def _follow(self, drawing: Scene, seen: list[str]) -> None:
        """Keep a running node visible, in a graph larger than the pane, until the operator scrolls or selects."""
        if self.selected or not (self.max_scroll_x or self.max_scroll_y) or self.scroll_offset != self._followed:
            return
        running = [name for name, card in drawing.cards.items() if card.state == "running"]
        if running and not set(running) & set(seen):
            self._show(Region(*drawing.region_of(running[0])))
            self._followed = self.scroll_offset

    def _tick_map(self, drawing: StatusMap, progress: Progress) -> None:
        rows: set[int] = set()
        names = list(self._all_nodes)
        for name in names if len(names) <= BEHIND else self._behind(names):
            steps = progress.steps(name)
            if drawing.full(name, sum(steps.values())):
                self._built = None
            rows |= drawing.set_counts(name, steps, self._expected(name, progress))
        if not self._counts or not self._turn % (4 * BEHIND) or len(names) <= BEHIND:
            self._counts.clear()
            for totals in progress.agents.values():
                self._counts.update(totals.display_counts)
        line = legend(self._counts)
        if self.selected in self._all_nodes:
            state = state_of(progress.steps(self.selected))
            line = [(f" {self._all_nodes[self.selected].label}: {state} ", "cursor"), *line]
        if line != self._legend:
            self._legend = line
            self.refresh(Region(0, self.size.height - 1, self.size.width, 1))
        top = self.scroll_offset.y
        for row in rows:
            if top <= row < top + self.size.height - 1:
                self.refresh(Region(0, row - top, self.size.width, 1))

    def _behind(self, names: list[str]) -> Iterable[str]:
        """The next share of all nodes, in turn."""
        start = self._turn if self._turn < len(names) else 0
        share = BEHIND
        if isinstance(self._drawing, Scene):
            share = max(1, BEHIND * len(names) // len(self._all_nodes))
        self._turn = start + share
        return islice(names, start, self._turn)

    def _seen(self, drawing: Scene) -> list[str]:
        left, top = self.scroll_offset.x - self._origin[0], self.scroll_offset.y - self._origin[1]
        return drawing.nodes_within(left, top, left + self.size.width, top + self.size.height)

    def _refresh(self, part: Region) -> None:
        """Repaint a part of the canvas, as far as it can be seen."""
        seen = part.translate(self._origin - self.scroll_offset).intersection(
            Region(0, 0, self.size.width, self.size.height)
        )
        if seen:
            self.refresh(seen)

    # Marks on the edges ----------------------------------------------------------------------------------------

    def _trace(self, totals: Mapping[str, AgentTotals]) -> None:
        """The critical path and the slack, from what attempts took so far."""
        if self._path and len(self._all_nodes) > TRACED:
            return
        fastest = schedule(self.definition, attempt_seconds(self.definition, totals))
        self._notes = {name: slack_note(slack) for name, slack in fastest.slack.items()} if self.slack else {}
        before, self._path = self._path, fastest.path
        if self._path != before:
            self._mark()

    def _mark(self) -> None:
        drawing = self._drawing
        if not isinstance(drawing, Scene):
            return
        edges = drawing.layout.wires.paths
        critical = [
            edge
            for source, target in pairwise(self._path)
            if (edge := (drawing.node_of[source], drawing.node_of[target])) in edges
        ]
        mine = drawing.edges.get(drawing.node_of.get(self.selected, ""), [])
        lit = [edge for name in self._glow for edge in drawing.edges[name] if edge[0] == name]
        wanted: dict[str, list[Edge]] = {"critical": critical, "selected": mine, "lit": lit}
        for row in drawing.set_marks(wanted):
            self._refresh(Region(0, row, drawing.width, 1))

    # Painting --------------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        styles, background = role_styles(self.app), self.background
        if self._ink is None or self._ink.styles is not styles or self._ink.background != background:
            self._ink = CanvasStyles(styles, background)
        ink = self._ink
        drawing = self._drawing
        if drawing is None:
            return Strip.blank(width, background)
        if drawing.level == "map" and y == self.size.height - 1:
            return ink.strip(self._legend).adjust_cell_length(width, background)
        left, row = self.scroll_offset.x - self._origin[0], y + self.scroll_offset.y - self._origin[1]
        if not 0 <= row < drawing.height:
            return Strip.blank(width, background)
        start, spans = drawing.row(row, max(0, left), min(drawing.width, left + width))
        strip = ink.strip(spans)
        if left < 0:
            strip = Strip([Segment(" " * -left, background), *strip])
            start = left
        return strip.crop(left - start, left - start + width).adjust_cell_length(width, background)

    def _halves(self) -> bool:
        return colourful(role_styles(self.app))

    # Moving ----------------------------------------------------------------------------------------------------

    def _select(self, name: str, *, notify: bool = False, opened: bool = False) -> None:
        drawing = self._drawing
        before, self.selected = self.selected, name
        if isinstance(drawing, Scene):
            node = drawing.node_of.get(name, "")
            drawing.select(node)
            for one in {drawing.node_of.get(before, ""), node} - {""}:
                self._refresh(Region(*drawing.region_of(one)))
            self._mark()
            if node:
                self._show(Region(*drawing.region_of(node)))
        elif drawing is not None:
            drawing.selected = name
            if name in self._all_nodes:
                self._show(Region(*drawing.region_of(name)))
            self.refresh()
        if notify:
            self.post_message(SelectionChanged(self, Selection(agent=name), opened=opened))

    def _show(self, part: Region) -> None:
        """Scroll so that this part of the canvas is in sight, with some room about it."""
        part = part.translate(self._origin).grow((1, 4, 1, 4))
        self.scroll_to_region(part, animate=False, force=True, immediate=True)

    def action_walk(self, way: Way) -> None:
        name = self._drawing.step(self.selected, way) if self._drawing else ""
        if name and name != self.selected:
            self._select(name, notify=True)

    def action_open(self) -> None:
        if self.selected:
            self._select(self.selected, notify=True, opened=True)

    def action_zoom(self, steps: int) -> None:
        """More detail or less."""
        index = LEVELS.index(self._wanted or self.level) + steps
        if 0 <= index < len(LEVELS):
            self._wanted = LEVELS[index]
            self._rebuild()

    def action_fit(self) -> None:
        """Back to the level that fits."""
        self._wanted = None
        self._rebuild()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "fold" or self._could_fold

    def action_fold(self) -> None:
        """Show or hide the inner steps of the selected agent, which only boxes have room for."""
        self.unfolded ^= {self.selected}
        if self.unfolded and self.level != "boxes":
            self._wanted = "boxes"
        self._built = None

    def action_slack(self) -> None:
        self.slack = not self.slack
        self._traced = float("-inf")

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        if self._drawing is None or at is None:
            return
        x, y = at + self.scroll_offset - self._origin
        if name := self._drawing.node_at(x, y):
            self._select(name, notify=True, opened=event.chain > 1)

    def on_resize(self) -> None:
        self._rebuild()

    def _rebuild(self) -> None:
        """Lay out again at the next tick; at once before the first tick."""
        self._built = None
        if not self._live and self.size:
            self._build(Progress())


def _oldest(view: RunView) -> dict[str, float]:
    """When the oldest running attempt of each agent began."""
    since: dict[str, float] = {}
    for (task, _), started in view.running.items():
        opened = view.open.get(task)
        name = (opened.graph.prefix if opened else "") + started.agent
        if name not in since or started.at < since[name]:
            since[name] = started.at
    return since
