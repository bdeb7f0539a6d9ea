"""The panes of a run screen: which of them are visible, which one has the keys, and what is selected in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.widget import Widget

from agentdeck.console.graph.pane import GraphPane
from agentdeck.console.log.lines import LineStore
from agentdeck.console.log.tiles import LogTiles
from agentdeck.console.pane import PANES, Pane, PaneName, Selection, SelectionChanged
from agentdeck.console.panes.agents import AgentsPane
from agentdeck.console.panes.header import Header
from agentdeck.console.panes.limits import LimitsPane
from agentdeck.console.panes.tasks import TasksPane
from agentdeck.console.panes.timeline import TimelinePane
from agentdeck.console.status_lines import Tabs
from agentdeck.workflow.model import Definition, Prompt

LivePane: TypeAlias = GraphPane | AgentsPane | TasksPane | TimelinePane | LogTiles | LimitsPane

SIDE = ("agents", "tasks", "timeline")


class PaneLayout(Vertical):
    """The header of a run, the tabs of its panes, and the panes.

    The panes exist once `build` was called with the run's definition; `ready` tells. `active` is the pane that
    has the focus or is about to get it; `side` is the one of SIDE that is shown beside others. `selection` is
    shared by all panes; `target` is what a key acts on. While `override` is set, keys act on that instead.
    """

    SCOPED_CSS = False  # the size classes are those of the screen
    DEFAULT_CSS = """
    PaneLayout #header { height: 3; }
    .middle PaneLayout #header { height: 2; } .narrow PaneLayout #header { height: 1; }
    PaneLayout #header > * { height: 100%; }
    PaneLayout #stage { height: 1fr; }
    PaneLayout #stage > .pane { border: round $line; border-title-color: $text-muted; }
    PaneLayout #stage > .pane:focus, PaneLayout #stage > .pane:focus-within {
        border: round $primary; border-title-color: $primary;
    }
    .wide PaneLayout #stage { layout: grid; grid-size: 2; grid-columns: 1fr 1fr; grid-rows: 6fr 4fr 9; }
    .wide PaneLayout #graph, .wide PaneLayout #limits { column-span: 2; }
    .middle PaneLayout #stage { layout: grid; grid-size: 1; grid-rows: 1fr 1fr; }
    .narrow PaneLayout #stage > .pane, PaneLayout.zoomed #stage > .pane { height: 1fr; width: 100%; }
    PaneLayout.zoomed #stage, .narrow PaneLayout #stage { layout: vertical; }
    .narrow PaneLayout #stage > .pane { border: none; }
    PaneLayout #limits { height: 1fr; }
    """

    graph: GraphPane
    agents: AgentsPane
    tasks: TasksPane
    timeline: TimelinePane
    tiles: LogTiles
    limits: LimitsPane

    def __init__(self, last_output: Callable[[str, str], float | None]) -> None:
        super().__init__()
        self.header = Header(last_output)
        self.lines = LineStore()
        self.ready = False
        self.selection = Selection()
        self.override: Selection | None = None
        self.side: PaneName = "agents"
        self.active: PaneName = "graph"
        self.zoomed = False

    def compose(self) -> ComposeResult:
        yield Container(id="header")
        yield Tabs()
        yield Container(id="stage")

    def build(
        self,
        definition: Definition,
        timeline: TimelinePane,
        limits: LimitsPane,
        open_selection: Callable[[Selection], None],
    ) -> None:
        """Mount the panes. `open_selection` shows more of what was opened in a pane."""
        self.timeline, self.limits, self._open_selection = timeline, limits, open_selection
        prompts = [name for name, agent in definition.agents.items() if isinstance(agent.does, Prompt)]
        self.lines = LineStore(streams=prompts)
        self.graph = GraphPane(definition)
        self.agents = AgentsPane()
        self.tasks = TasksPane()
        self.tiles = LogTiles(self.lines)
        for name in PANES:
            pane = self[name]
            pane.id = name
            pane.add_class("pane")
            pane.border_title = name
        self.query_one("#header").mount(self.header)
        self.query_one("#stage").mount(*(self[name] for name in PANES))
        self.ready = True
        self.update_display()
        self.call_after_refresh(self._focus, self.active)

    def __getitem__(self, name: PaneName) -> LivePane:
        panes: dict[PaneName, LivePane] = {
            "graph": self.graph,
            "agents": self.agents,
            "tasks": self.tasks,
            "timeline": self.timeline,
            "log": self.tiles,
            "limits": self.limits,
        }
        return panes[name]

    def visible_panes(self) -> list[Header | LivePane]:
        """The header and the panes that have room on the screen now."""
        panes = (self.header, *(self[name] for name in PANES if self.ready))
        return [pane for pane in panes if pane.display and pane.size.height]

    def replace_log(self, lines: LineStore) -> None:
        """Show other log lines, in a new log pane at the same place."""
        self.lines = lines
        old, new = self.tiles, LogTiles(lines)
        new.id, new.border_title = "log", "log"
        new.set_classes(old.classes)
        self.tiles = new

        async def swap() -> None:
            await old.remove()
            if new is self.tiles:
                await self.query_one("#stage").mount(new, before=self.limits)

        self.run_worker(swap(), name="log")

    # Which panes are visible, and which one has the keys ----------------------------------------------------

    def update_display(self) -> None:
        """Display one pane where the screen is narrow or zoomed, else as many as fit."""
        if not self.ready:
            return
        self.set_class(self.zoomed, "zoomed")
        displayed: set[str]
        if self.zoomed or self.screen.has_class("narrow"):
            displayed = {self.active}
        elif self.screen.has_class("middle"):
            displayed = {"graph", self.side if self.active in ("graph", self.side) else self.active}
        else:
            displayed = {"graph", self.side, "log", "limits"}
        for name in PANES:
            self[name].display = name in displayed
        self.query_one(Tabs).set_panes(self.active, displayed)

    def show(self, name: PaneName) -> None:
        """Display a pane and give it the focus."""
        self.active = name
        if name in SIDE:
            self.side = name
        self.update_display()
        self._focus(name)

    def show_limit(self, name: str) -> None:
        """Display the limits, with the cursor on this one."""
        self.show("limits")
        self.limits.move_to_key(name)

    def toggle_zoom(self) -> None:
        """Display only the active pane, or all again."""
        self.zoomed = not self.zoomed
        self.show(self.active)

    def go_up(self) -> bool:
        """Leave one level: the zoom, the pane, or the selection. False where none of them is left."""
        selection = self.selection
        if self.zoomed:
            self.toggle_zoom()
        elif self.active != "graph":
            self.show("graph")
        elif selection != Selection():
            self.select(Selection(task=selection.task) if selection.agent or selection.step else Selection())
        else:
            return False
        return True

    def _focus(self, name: PaneName) -> None:
        """Focus a pane, unless another one was made active since."""
        if not self.ready or name != self.active:
            return
        pane = self[name]
        target = pane if pane.can_focus else next((w for w in pane.walk_children(Widget) if w.can_focus), None)
        if target is not None:
            target.focus()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The pane of a widget that gets the focus is the active one."""
        # The event may be late: another widget may have the focus by now, or be about to get it.
        if event.widget is not self.screen.focused:
            return
        for name in PANES if self.ready else ():
            if self[name] in event.widget.ancestors_with_self:
                self.active = name
                self.query_one(Tabs).set_panes(name, None)

    def on_tabs_chosen(self, event: Tabs.Chosen) -> None:
        self.show(event.name)

    # What is selected ---------------------------------------------------------------------------------------

    def on_selection_changed(self, event: SelectionChanged) -> None:
        """Pass a pane's new selection to the other panes."""
        event.stop()
        self.select(event.selection, event.pane)
        if event.opened:
            self._open_selection(event.selection)

    def select(self, selection: Selection, sender: Widget | None = None) -> None:
        """Show this selection in all panes but the one that posted it."""
        self.selection = selection
        above = sender.ancestors_with_self if sender is not None else ()
        for name in PANES if self.ready else ():
            if self[name] not in above:
                self[name].show_selection(selection)

    @property
    def target(self) -> Selection:
        """What a key acts on: what is under the cursor of the active pane, else the shared selection."""
        if self.override is not None:
            return self.override
        pane: Pane | None = self[self.active] if self.ready else None
        here = pane.cursor_selection if pane is not None else None
        return self.selection if here is None else here

    def lacks(self, *, task: bool = False, step: bool = False) -> bool:
        """Whether the target has no task, or no step, that a command needs. Notifies the operator if so."""
        target = self.target
        lack = "a task first: key 3 shows the tasks" if task and not target.task else ""
        lack = lack or ("an agent first" if step and not target.step_name else "")
        if lack:
            self.notify(f"select {lack}", severity="warning")
        return bool(lack)

    def update_breadcrumb(self) -> None:
        """Name the target above the panes. A highlighted task is selected as soon as its table has the focus."""
        target = self.target
        if self.active == "tasks" and target != self.selection and self.tasks.has_focus:
            self.select(target)
        step = target.step or target.agent
        task = f"task {target.task}" if target.task else ""
        numbers = not (self.active == "limits" and self.limits.editing)
        breadcrumb = " › ".join(part for part in (task, step) if part)
        self.query_one(Tabs).set_breadcrumb(breadcrumb, numbers=numbers)
