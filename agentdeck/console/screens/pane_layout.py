"""The panes of a run screen: which of them are visible, which one has the keys, and what is selected in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from textual.screen import Screen
from textual.widget import Widget

from agentdeck.console.graph.pane import GraphPane
from agentdeck.console.log.lines import LineStore
from agentdeck.console.log.tiles import LogTiles
from agentdeck.console.pane import PANES, Pane, PaneName, Selection, SelectionChanged
from agentdeck.console.panes.agents import AgentsPane
from agentdeck.console.panes.header import Header
from agentdeck.console.panes.limits import LimitsPane
from agentdeck.console.panes.tasks import TasksPane
from agentdeck.console.panes.timeline import Source, TimelinePane
from agentdeck.console.status_lines import Tabs
from agentdeck.workflow.model import Definition

LivePane: TypeAlias = Header | GraphPane | AgentsPane | TasksPane | TimelinePane | LogTiles | LimitsPane

SIDE = ("agents", "tasks", "timeline")

_CSS = """
SCREEN #header { height: 3; }
SCREEN.middle #header { height: 2; } SCREEN.narrow #header { height: 1; }
SCREEN #header > * { height: 100%; }
SCREEN #stage { height: 1fr; }
SCREEN #stage > .pane { border: round $line; border-title-color: $text-muted; }
SCREEN #stage > .pane:focus, SCREEN #stage > .pane:focus-within {
    border: round $primary; border-title-color: $primary;
}
SCREEN.wide #stage { layout: grid; grid-size: 2; grid-columns: 1fr 1fr; grid-rows: 6fr 4fr 9; }
SCREEN.wide #graph, SCREEN.wide #limits { column-span: 2; }
SCREEN.middle #stage { layout: grid; grid-size: 1; grid-rows: 1fr 1fr; }
SCREEN.narrow #stage > .pane, SCREEN.zoomed #stage > .pane { height: 1fr; width: 100%; }
SCREEN.zoomed #stage, SCREEN.narrow #stage { layout: vertical; }
SCREEN.narrow #stage > .pane { border: none; }
SCREEN #limits { height: 1fr; }
"""


def pane_css(screen: str) -> str:
    """The rules for the panes on a screen class of this name."""
    return _CSS.replace("SCREEN", screen)


class PaneLayout:
    """The panes on the `#header` and `#stage` containers and the `Tabs` of a screen.

    The panes exist once `build` was called with the run's definition; `ready` tells. `active` is the pane that
    has the focus or is about to get it; `side` is the one of SIDE that is shown beside others. `selection` is
    shared by all panes; `target` is what a key acts on. While `override` is set, keys act on that instead.
    """

    graph: GraphPane
    agents: AgentsPane
    tasks: TasksPane
    timeline: TimelinePane
    log: LogTiles
    limits: LimitsPane

    def __init__(self, screen: Screen[None], last_output: Callable[[str, str], float | None]) -> None:
        self.screen = screen
        self.header = Header(last_output)
        self.lines = LineStore()
        self.ready = False
        self.selection = Selection()
        self.override: Selection | None = None
        self.side: PaneName = "agents"
        self.active: PaneName = "graph"
        self.zoomed = False

    def build(
        self,
        definition: Definition,
        *,
        events: Source,
        change_limit: Callable[[str, object], None],
        forecast: Callable[[str, object], str],
    ) -> None:
        """Mount the panes. `events` reads a task's recorded events for the timeline; `change_limit` and
        `forecast` are for the limits pane."""
        prompts = [name for name, agent in definition.agents.items() if agent.does.verb == "prompt"]
        self.lines = LineStore(streams=prompts)
        self.graph = GraphPane(definition)
        self.agents = AgentsPane()
        self.tasks = TasksPane()
        self.timeline = TimelinePane(events)
        self.log = LogTiles(self.lines)
        self.limits = LimitsPane(change_limit, forecast)
        for name in PANES:
            pane = self[name]
            pane.id = name
            pane.add_class("pane")
            pane.border_title = name
        self.screen.query_one("#header").mount(self.header)
        self.screen.query_one("#stage").mount(*(self[name] for name in PANES))
        self.ready = True
        self.arrange()
        self.screen.call_after_refresh(self._focus, self.active)

    def __getitem__(self, name: PaneName) -> LivePane:
        panes: dict[PaneName, LivePane] = {
            "graph": self.graph,
            "agents": self.agents,
            "tasks": self.tasks,
            "timeline": self.timeline,
            "log": self.log,
            "limits": self.limits,
        }
        return panes[name]

    def __iter__(self) -> Iterator[LivePane]:
        """The header, then the panes in the order of PANES."""
        yield self.header
        if self.ready:
            yield from (self[name] for name in PANES)

    def visible(self) -> Iterator[LivePane]:
        """The header and the panes that have room on the screen now."""
        return (pane for pane in self if pane.display and pane.size.height)

    def replace_log(self, lines: LineStore) -> None:
        """Show other log lines, in a new log pane at the same place."""
        self.lines = lines
        old, new = self.log, LogTiles(lines)
        new.id, new.border_title = "log", "log"
        new.set_classes(old.classes)
        self.log = new

        async def swap() -> None:
            await old.remove()
            if new is self.log:
                await self.screen.query_one("#stage").mount(new, before=self.limits)

        self.screen.run_worker(swap(), name="log")

    # Which panes are visible, and which one has the keys ----------------------------------------------------

    def arrange(self) -> None:
        """Display one pane where the screen is narrow or zoomed, else as many as fit."""
        if not self.ready:
            return
        screen = self.screen
        screen.set_class(self.zoomed, "zoomed")
        displayed: set[str]
        if self.zoomed or screen.has_class("narrow"):
            displayed = {self.active}
        elif screen.has_class("middle"):
            displayed = {"graph", self.side if self.active in ("graph", self.side) else self.active}
        else:
            displayed = {"graph", self.side, "log", "limits"}
        for name in PANES:
            self[name].display = name in displayed
        screen.query_one(Tabs).set_panes(self.active, displayed)

    def show(self, name: PaneName) -> None:
        """Display a pane and give it the focus."""
        self.active = name
        if name in SIDE:
            self.side = name
        self.arrange()
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

    def on_focus_moved(self, widget: Widget) -> None:
        """A widget got the focus: its pane is the active one. Call it from the screen's handler."""
        # The event may be late: another widget may have the focus by now, or be about to get it.
        if widget is not self.screen.focused:
            return
        for name in PANES if self.ready else ():
            if self[name] in widget.ancestors_with_self:
                self.active = name
                self.screen.query_one(Tabs).set_panes(name, None)

    # What is selected ---------------------------------------------------------------------------------------

    def on_selection_changed(self, event: SelectionChanged) -> None:
        """Pass a pane's new selection to the other panes. Call it from the screen's handler."""
        event.stop()
        self.select(event.selection, event.pane)

    def select(self, selection: Selection, sender: Widget | None = None) -> None:
        """Show this selection in all panes but the one that posted it."""
        self.selection = selection
        above = sender.ancestors_with_self if sender is not None else ()
        for pane in self:
            if pane not in above:
                pane.show_selection(selection)

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
        lack = "a task first: 3 shows them" if task and not target.task else ""
        lack = lack or ("an agent first" if step and not target.step_name else "")
        if lack:
            self.screen.notify(f"select {lack}", severity="warning", markup=False)
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
        self.screen.query_one(Tabs).set_breadcrumb(breadcrumb, numbers=numbers)
